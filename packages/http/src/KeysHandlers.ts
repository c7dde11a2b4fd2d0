import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import { KeyRotation } from "@valetkey/domain/KeyRotation"
import { Effect } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import { orProblem } from "./DomainProblem.ts"
import { makeOperating } from "./internal/operating.ts"

/** Layer of the root key endpoints. */
export const layer = HttpApiBuilder.group(
  ValetkeyApi,
  "keys",
  Effect.fnUntraced(function*(handlers) {
    const rotation = yield* KeyRotation
    const operating = yield* makeOperating
    return handlers.handleAll({
      status: () => orProblem(rotation.status),
      add: () =>
        Effect.map(
          operating("root_key.added", ({ id }) => ({ target: String(id) }), orProblem(rotation.add)),
          ({ entry, id }) => entry === undefined ? { id } : { id, entry }
        ),
      rewrap: () =>
        operating("root_key.rewrapped", ({ rewrapped }) => ({ count: rewrapped }), orProblem(rotation.rewrap())),
      promote: ({ params }) =>
        operating("root_key.promoted", { target: String(params.id) }, orProblem(rotation.promote(params.id))),
      retire: ({ params }) =>
        operating("root_key.retired", { target: String(params.id) }, orProblem(rotation.retire(params.id)))
    })
  })
)
