import { Readiness } from "@valetkey/http/Readiness"
import { Effect } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"

/** Layer of `/livez` and `/readyz` for a listener without the API, which has its own. */
export const layer = HttpRouter.use(Effect.fnUntraced(function*(router) {
  const readiness = yield* Readiness
  yield* router.add("GET", "/livez", HttpServerResponse.jsonUnsafe({ live: true }))
  yield* router.add(
    "GET",
    "/readyz",
    Effect.map(readiness.checks, (checks) => {
      const ready = checks.every(({ ok }) => ok)
      return HttpServerResponse.jsonUnsafe({ ready, checks }, { status: ready ? 200 : 503 })
    })
  )
}))
