import { CallbackReceived } from "@valetkey/domain/Authorization"
import * as CallbackRequest from "@valetkey/domain/CallbackRequest"
import { Digest } from "@valetkey/domain/Entropy"
import { backOf, type Flow } from "@valetkey/domain/Flow"
import { outcomeOf } from "@valetkey/domain/FlowOutcome"
import { Flows } from "@valetkey/domain/Flows"
import { Effect, Layer, Option, Redacted, Result, Schema } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as BrowserCookie from "./BrowserCookie.ts"
import * as Languages from "./Languages.ts"
import * as Page from "./Page.ts"
import type { PageTexts } from "./PageTexts.ts"

/** How long the result page waits for the flow before it asks the browser to come back. */
const patience = "8 seconds"

/**
 * Layer of the redirect URI that any replica serves. The response is claimed at once, for the browser that the flow is
 * bound to; that browser goes on to a page whose address holds neither code nor state, or back to the application that
 * has to confirm.
 *
 * @see RFC 6749 §4.1.2
 */
export const layerCallback = (options: { readonly basePath: string }) =>
  HttpRouter.use(Effect.fnUntraced(function*(router) {
    const flows = yield* Flows
    const languages = yield* Languages.Languages
    const complete = Effect.fnUntraced(function*(request: HttpServerRequest.HttpServerRequest, texts: PageTexts) {
      const refused = refusal(request)
      if (refused !== undefined) return refused
      const { context } = yield* HttpRouter.params
      const received = CallbackReceived.parse(new URL(request.url, "http://localhost").searchParams)
      if (Result.isFailure(received) || context === undefined) return notAnAnswer(texts)
      const browser = BrowserCookie.secretsOf(request)
      const { onward, receipt } = yield* flows.complete(received.success, { context, browser })
      const location = onward === undefined ? `${options.basePath}/done/${receipt}` : Redacted.value(onward)
      const response = HttpServerResponse.empty({ status: 303, headers: { ...Page.headers, location } })
      return browser(receipt) === undefined ? response : BrowserCookie.forget(response, receipt)
    })
    yield* router.add(
      "*",
      "/callback/:context",
      (request) => {
        const texts = Languages.of(request, languages)
        return complete(request, texts).pipe(
          Effect.catchTags({
            CallbackRejected: () => Effect.succeed(notAnAnswer(texts)),
            // No line for each: whoever floods this endpoint does not fill the log, and the source of the keys has said it.
            CipherError: () => Effect.succeed(notNow(texts))
          }),
          Effect.catchCause((cause) => Effect.as(Effect.logError("callback failed", cause), notNow(texts)))
        )
      }
    )
  }))

/** Layer of the result page. Its address is the receipt of the delivery: it opens nothing and tells nothing but how the flow ended. */
export const layerDone = HttpRouter.use(Effect.fnUntraced(function*(router) {
  const flows = yield* Flows
  const languages = yield* Languages.Languages
  const show = Effect.fnUntraced(function*(texts: PageTexts) {
    const receipt = decodeReceipt((yield* HttpRouter.params)["receipt"])
    const found = Option.isNone(receipt) ? Option.none<Flow>() : yield* flows.ofReceipt(receipt.value, patience)
    return Option.isNone(found) ? unknown(texts) : resultOf(texts, found.value)
  })
  yield* router.add(
    "GET",
    "/done/:receipt",
    (request) => {
      const texts = Languages.of(request, languages)
      return show(texts).pipe(
        Effect.catchCause((cause) => Effect.as(Effect.logError("result page failed", cause), notNow(texts)))
      )
    }
  )
}))

/** What is answered by its shape alone; it changes nothing. */
const refusal = (request: HttpServerRequest.HttpServerRequest): HttpServerResponse.HttpServerResponse | undefined => {
  if (request.method !== "GET") {
    return HttpServerResponse.empty({ status: 405, headers: { ...Page.headers, allow: "GET" } })
  }
  if (request.url.length > CallbackRequest.maxTarget) {
    return HttpServerResponse.empty({ status: 414, headers: Page.headers })
  }
  return CallbackRequest.looksAhead(request.headers)
    ? HttpServerResponse.empty({ status: 204, headers: Page.headers })
    : undefined
}

const decodeReceipt = Schema.decodeUnknownOption(Digest)

const notAnAnswer = (texts: PageTexts) =>
  Page.sentence(texts.arrival.stray, texts.arrival.strayText, { texts, status: 400 })

const unknown = (texts: PageTexts) =>
  Page.sentence(texts.arrival.unknown, texts.arrival.unknownText, { texts, status: 404 })

const notNow = (texts: PageTexts) =>
  Page.sentence(texts.arrival.notNow, texts.arrival.notNowText, {
    texts,
    status: 503,
    headers: { "retry-after": "2" }
  })

const resultOf = (texts: PageTexts, flow: Flow): HttpServerResponse.HttpServerResponse => {
  const { sentence, title } = outcomeOf(flow, texts.flow)
  if (flow.state === "pending" || flow.state === "exchanging") {
    return Page.sentence(title, sentence, { texts, headers: { refresh: "1" } })
  }
  const back = backOf(flow)
  return Page.page(
    title,
    `<p>${Page.escape(sentence)}</p>` +
      (back === undefined ? "" : `<p><a href="${Page.escape(back)}">${Page.escape(texts.flow.back)}</a></p>`),
    { texts }
  )
}

/** Layer of where a browser arrives when it comes back. */
export const layer = (options: { readonly basePath: string }) => Layer.mergeAll(layerCallback(options), layerDone)
