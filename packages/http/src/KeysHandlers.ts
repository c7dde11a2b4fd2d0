import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import { KeyRotation } from "@valetkey/domain/KeyRotation"
import { Effect } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import { orProblem } from "./DomainProblem.ts"

/** Layer of the root key endpoints. */
export const layer = HttpApiBuilder.group(
  ValetkeyApi,
  "keys",
  Effect.fnUntraced(function*(handlers) {
    const rotation = yield* KeyRotation
    return handlers.handleAll({
      status: () => orProblem(rotation.status),
      add: () => Effect.map(orProblem(rotation.add), ({ entry, id }) => entry === undefined ? { id } : { id, entry }),
      rewrap: () => orProblem(rotation.rewrap()),
      promote: ({ params }) => orProblem(rotation.promote(params.id)),
      retire: ({ params }) => orProblem(rotation.retire(params.id))
    })
  })
)
