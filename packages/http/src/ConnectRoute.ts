import * as CallbackRequest from "@valetkey/domain/CallbackRequest"
import { Entropy } from "@valetkey/domain/Entropy"
import { Flows } from "@valetkey/domain/Flows"
import { ByteSize, DateTime, Effect, Option, Redacted } from "effect"
import { MaxBodySize } from "effect/http/HttpIncomingMessage"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import * as HttpRouter from "effect/http/HttpRouter"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { hash, timingSafeEqual } from "node:crypto"
import * as BrowserCookie from "./BrowserCookie.ts"
import * as ConnectPage from "./ConnectPage.ts"
import * as Languages from "./Languages.ts"
import * as Page from "./Page.ts"
import type { PageTexts } from "./PageTexts.ts"

/** The largest form that is read: ours has one field. */
const maxForm = ByteSize.fromInputUnsafe("4 KiB")

/** How this listener is known to browsers. */
export interface ConnectOptions {
  /** Origin of the public URL. Without one no form is taken. */
  readonly origin?: string | undefined
}

/**
 * Layer of the connect page. Looking at it changes nothing, so what looks at links on somebody's behalf burns no ticket;
 * its form binds the flow to the browser that sends it, and that browser alone is told the way to the provider.
 */
export const layer = ({ origin }: ConnectOptions) =>
  HttpRouter.use(Effect.fnUntraced(function*(router) {
    const flows = yield* Flows
    const entropy = yield* Entropy
    const languages = yield* Languages.Languages

    const show = Effect.fnUntraced(function*(
      request: HttpServerRequest.HttpServerRequest,
      ticket: Redacted.Redacted,
      texts: PageTexts
    ) {
      const browser = BrowserCookie.secretsOf(request)
      const offered = yield* flows.offer(ticket, browser)
      if (Option.isNone(offered)) return ConnectPage.gone(texts)
      const { flow, receipt } = offered.value
      if (flow.state !== "pending") return ConnectPage.outcome(texts, flow)
      if (offered.value.browser === "another") return ConnectPage.taken(texts)
      const secret = browser(receipt) ?? (yield* entropy.secret)
      // Both by the clock of the store: that of this host may be minutes ahead, and the cookie would be over at once.
      const maxAge = DateTime.distance(flow.createdAt, flow.expiresAt)
      const page = ConnectPage.offer(texts, offered.value, tokenOf(secret, ticket))
      return BrowserCookie.keep(page, request, { receipt, secret, maxAge })
    })

    const take = Effect.fnUntraced(function*(
      request: HttpServerRequest.HttpServerRequest,
      ticket: Redacted.Redacted,
      texts: PageTexts
    ) {
      if (!comesFromHere(request.headers, origin)) return ConnectPage.refused(texts)
      const browser = BrowserCookie.secretsOf(request)
      const offered = yield* flows.offer(ticket, browser)
      // Before the body: nobody keeps a request open without a ticket.
      if (Option.isNone(offered)) return ConnectPage.gone(texts)
      const form = yield* Effect.option(Effect.provideService(request.urlParamsBody, MaxBodySize, maxForm))
      const { flow, receipt } = offered.value
      if (flow.state !== "pending") return ConnectPage.outcome(texts, flow)
      const secret = browser(receipt)
      const tokens = Option.match(form, { onNone: () => [], onSome: ({ params }) => params })
        .flatMap(([name, value]) =>
          name === "token" ? [Redacted.isRedacted(value) ? Redacted.value(value) : value] : []
        )
      if (secret === undefined || tokens.length !== 1 || !equal(tokens[0] ?? "", tokenOf(secret, ticket))) {
        return ConnectPage.refused(texts)
      }
      const departure = yield* flows.depart(ticket, secret)
      return Option.match(departure, {
        onNone: () => ConnectPage.taken(texts),
        onSome: ({ authorizationUrl, flow }) => ConnectPage.departure(texts, flow, authorizationUrl)
      })
    })

    yield* router.add("*", "/connect/:ticket", (request) => {
      const texts = Languages.of(request, languages)
      return Effect.gen(function*() {
        const refused = refusal(request)
        if (refused !== undefined) return refused
        const ticket = ticketOf((yield* HttpRouter.params)["ticket"])
        if (ticket === undefined) return ConnectPage.gone(texts)
        return yield* request.method === "POST" ? take(request, ticket, texts) : show(request, ticket, texts)
      }).pipe(
        Effect.catchCause((cause) =>
          Effect.as(Effect.logError("connect page failed", cause), ConnectPage.notNow(texts))
        ),
        // An access log would hold the ticket, which stands in the path.
        HttpMiddleware.withLoggerDisabled
      )
    })
  }))

/** What is answered by its shape alone. */
const refusal = (request: HttpServerRequest.HttpServerRequest): HttpServerResponse.HttpServerResponse | undefined => {
  if (request.method !== "GET" && request.method !== "POST") {
    return HttpServerResponse.empty({ status: 405, headers: { ...Page.headers, allow: "GET, POST" } })
  }
  return CallbackRequest.looksAhead(request.headers)
    ? HttpServerResponse.empty({ status: 204, headers: Page.headers })
    : undefined
}

const ticketOf = (text: string | undefined): Redacted.Redacted | undefined =>
  text !== undefined && /^[\w-]{43}$/.test(text) ? Redacted.make(text) : undefined

/** Whether a browser says that a page of this origin sent the form. What says nothing is no browser that we know. */
const comesFromHere = (
  headers: { readonly [name: string]: string | undefined },
  origin: string | undefined
): boolean => {
  const site = headers["sec-fetch-site"]
  if (origin === undefined || headers["origin"] === undefined && site === undefined) return false
  return (headers["origin"] ?? origin) === origin && (site ?? "same-origin") === "same-origin"
}

/** What the form sends back: known to the page of the browser that holds the secret, for this ticket alone. */
const tokenOf = (secret: Redacted.Redacted, ticket: Redacted.Redacted): string =>
  hash("sha256", `valetkey connect form ${Redacted.value(secret)} ${Redacted.value(ticket)}`, "base64url")

const equal = (one: string, other: string): boolean =>
  timingSafeEqual(hash("sha256", one, "buffer"), hash("sha256", other, "buffer"))
