import type { InstanceView } from "@valetkey/api/InstanceApi"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import { Instance, type InstanceStatus } from "@valetkey/domain/Instance"
import { Effect } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import { orProblem } from "./DomainProblem.ts"
import { makeOperating } from "./internal/operating.ts"

/** Layer of the endpoints of the instance guard. */
export const layer = HttpApiBuilder.group(
  ValetkeyApi,
  "instance",
  Effect.fnUntraced(function*(handlers) {
    const instance = yield* Instance
    const operating = yield* makeOperating
    return handlers.handleAll({
      status: () => Effect.map(orProblem(instance.look), viewOf),
      takeOver: () =>
        Effect.map(
          operating("instance.taken_over", ({ stored }) => ({ target: stored }), orProblem(instance.takeOver)),
          viewOf
        )
    })
  })
)

const viewOf = ({ configured, stored, takenOverAt }: InstanceStatus): InstanceView => ({
  configured,
  stored,
  ...(takenOverAt === undefined ? {} : { takenOverAt })
})
