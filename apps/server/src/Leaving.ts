import { proxyPrefix } from "@valetkey/api/ProxyApi"
import type { Layer } from "effect"
import { Effect } from "effect"
import * as HttpEffect from "effect/http/HttpEffect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { Draining } from "./Draining.ts"

/**
 * Layer of the answers of a process that goes away. Long polls end when the drain begins: whoever waits asks another
 * replica. Everything else is answered in full, or, when the grace of the drain is over, told when to come back.
 */
export const layer: Layer.Layer<never, never, Draining | HttpRouter.HttpRouter> = HttpRouter.middleware(
  Effect.gen(function*() {
    const draining = yield* Draining
    const goodbye: HttpEffect.PreResponseHandler = (_, response) =>
      response.status !== 503 || response.body._tag !== "Empty" || response.headers["retry-after"] !== undefined
        ? Effect.succeed(response)
        : Effect.map(draining.begun, (begun) => begun ? leaving : response)
    return (app) =>
      // An interrupted handler cannot answer any more, and the platform answers for it with a status alone.
      HttpEffect.withPreResponseHandler(
        Effect.flatMap(
          HttpServerRequest.HttpServerRequest,
          (request) =>
            request.method === "GET" && request.url.includes("wait=") && !request.url.startsWith(proxyPrefix)
              ? Effect.raceFirst(app, Effect.as(draining.wait, leaving))
              : app
        ),
        goodbye
      )
  }),
  { global: true }
)

const leaving = HttpServerResponse.jsonUnsafe({
  type: "https://valetkey.dev/problems/draining",
  title: "Service Unavailable",
  status: 503,
  code: "draining",
  detail: "This server is shutting down; ask again",
  retryAfterSeconds: 1
}, {
  status: 503,
  contentType: "application/problem+json",
  headers: { "retry-after": "1", "cache-control": "no-store" }
})
