import { Entropy } from "@valetkey/domain/Entropy"
import { Flows } from "@valetkey/domain/Flows"
import { DateTime, Effect, Option, Redacted } from "effect"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import * as HttpRouter from "effect/http/HttpRouter"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as BrowserCookie from "./BrowserCookie.ts"
import * as ConnectPage from "./ConnectPage.ts"
import * as Forms from "./internal/forms.ts"
import * as Languages from "./Languages.ts"
import type { PageTexts } from "./PageTexts.ts"

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
      if (!Forms.comesFromHere(request.headers, origin)) return ConnectPage.refused(texts)
      const browser = BrowserCookie.secretsOf(request)
      const offered = yield* flows.offer(ticket, browser)
      // Before the body: nobody keeps a request open without a ticket.
      if (Option.isNone(offered)) return ConnectPage.gone(texts)
      const { flow, receipt } = offered.value
      if (flow.state !== "pending") return ConnectPage.outcome(texts, flow)
      const secret = browser(receipt)
      if (secret === undefined || !(yield* Forms.holdsToken(request, tokenOf(secret, ticket)))) {
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
        const refused = Forms.refusal(request)
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

const ticketOf = (text: string | undefined): Redacted.Redacted | undefined =>
  text !== undefined && /^[\w-]{43}$/.test(text) ? Redacted.make(text) : undefined

/** What the form sends back: known to the page of the browser that holds the secret, for this ticket alone. */
const tokenOf = (secret: Redacted.Redacted, ticket: Redacted.Redacted): string =>
  Forms.tokenOf("connect", secret, Redacted.value(ticket))
