import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import { Effect } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import { Readiness } from "./Readiness.ts"

/** Layer of the endpoints that a supervisor asks. */
export const layer = HttpApiBuilder.group(
  ValetkeyApi,
  "system",
  Effect.fnUntraced(function*(handlers) {
    const readiness = yield* Readiness
    return handlers.handleAll({
      live: () => Effect.succeed({ live: true } as const),
      ready: () =>
        Effect.map(readiness.checks, (checks) =>
          checks.every((check) => check.ok)
            ? { ready: true as const, checks }
            : { ready: false as const, checks })
    })
  })
)
