import { CallbackReceived } from "@valetkey/domain/Authorization"
import { Digest, Entropy } from "@valetkey/domain/Entropy"
import { failureSentence, type Flow, isTerminal } from "@valetkey/domain/Flow"
import { Flows } from "@valetkey/domain/Flows"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { Effect, Layer, Option, Result, Schema } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Page from "./Page.ts"

/** How long the result page waits for the flow before it asks the browser to come back. */
const patience = "8 seconds"
const maxTarget = 32 * 1024

/** Browsers and scanners that look ahead say so in one of these. */
const prefetchHeaders = ["sec-purpose", "purpose", "x-purpose", "x-moz"]

/**
 * Layer of the redirect URI that any replica serves. The response is claimed at once; the browser goes on to a page
 * whose address holds neither code nor state.
 *
 * @see RFC 6749 §4.1.2
 */
export const layerCallback = (options: { readonly basePath: string }) =>
  HttpRouter.use(Effect.fnUntraced(function*(router) {
    const flows = yield* Flows
    const entropy = yield* Entropy
    const complete = Effect.fnUntraced(function*(request: HttpServerRequest.HttpServerRequest) {
      const refused = refusal(request)
      if (refused !== undefined) return refused
      const { context } = yield* HttpRouter.params
      const received = CallbackReceived.parse(new URL(request.url, "http://localhost").searchParams)
      if (Result.isFailure(received) || context === undefined) return notAnAnswer
      yield* flows.complete(received.success, { context })
      return HttpServerResponse.empty({
        status: 303,
        headers: { ...Page.headers, location: `${options.basePath}/done/${entropy.digest(received.success.state)}` }
      })
    })
    yield* router.add(
      "*",
      "/callback/:context",
      (request) =>
        complete(request).pipe(
          Effect.catchTag("CallbackRejected", () => Effect.succeed(notAnAnswer)),
          Effect.catchCause((cause) => Effect.as(Effect.logError("callback failed", cause), notNow))
        )
    )
  }))

/** Layer of the result page. Its address is the digest of the `state`: it opens nothing and tells nothing but how the flow ended. */
export const layerDone = HttpRouter.use(Effect.fnUntraced(function*(router) {
  const flows = yield* Flows
  const store = yield* FlowStore
  const show = Effect.gen(function*() {
    const digest = decodeDigest((yield* HttpRouter.params)["digest"])
    const found = Option.isNone(digest) ? Option.none<Flow>() : yield* store.findByState(digest.value)
    if (Option.isNone(found)) return unknown
    const { id, key, state } = found.value
    if (isTerminal(state) || state === "awaiting_finalize") return resultOf(found.value)
    return resultOf(yield* flows.wait({ id, tenant: key.tenant, subject: key.subject }, patience))
  })
  yield* router.add(
    "GET",
    "/done/:digest",
    show.pipe(Effect.catchCause((cause) => Effect.as(Effect.logError("result page failed", cause), notNow)))
  )
}))

/** What is answered by its shape alone; it changes nothing. */
const refusal = (request: HttpServerRequest.HttpServerRequest): HttpServerResponse.HttpServerResponse | undefined => {
  if (request.method !== "GET") {
    return HttpServerResponse.empty({ status: 405, headers: { ...Page.headers, allow: "GET" } })
  }
  if (request.url.length > maxTarget) return HttpServerResponse.empty({ status: 414, headers: Page.headers })
  return prefetchHeaders.some((name) => /prefetch|prerender|preview/i.test(request.headers[name] ?? ""))
    ? HttpServerResponse.empty({ status: 204, headers: Page.headers })
    : undefined
}

const decodeDigest = Schema.decodeUnknownOption(Digest)

const notAnAnswer = Page.sentence(
  "Not an answer",
  "This request does not belong to a connection that is being made. Nothing was changed.",
  { status: 400 }
)

const unknown = Page.sentence("Not known", "There is nothing to show here.", { status: 404 })

const notNow = Page.sentence(
  "Not now",
  "The answer could not be taken right now. Reload this page in a moment; if it repeats, start again.",
  { status: 503, headers: { "retry-after": "2" } }
)

const resultOf = (flow: Flow): HttpServerResponse.HttpServerResponse => {
  switch (flow.state) {
    case "completed":
      return Page.sentence(
        "Connected",
        "The connection is ready. You can close this window and go back to the program."
      )
    case "failed":
      return Page.sentence("Not connected", failureSentence[flow.failure ?? "start_failed"])
    case "cancelled":
      return Page.sentence("Cancelled", "The connection was cancelled. Nothing was stored.")
    case "superseded":
      return Page.sentence(
        "Replaced",
        "A newer attempt has replaced this one. Nothing was stored; finish the newer one."
      )
    case "expired":
      return Page.sentence("Expired", "The time to connect is over. Start again.")
    case "outcome_unknown":
      return Page.sentence("Not finished", "The provider's answer was lost on the way. Start again.")
    case "awaiting_finalize":
      return Page.sentence("Almost there", "Go back to the application that you came from; it finishes the connection.")
    case "pending":
    case "exchanging":
      return Page.sentence("One moment", "The connection is being finished.", { headers: { refresh: "1" } })
  }
}

/** Layer of everything that a browser visits. */
export const layer = (options: { readonly basePath: string }) => Layer.mergeAll(layerCallback(options), layerDone)
