import type { ConnectOffer } from "@valetkey/domain/ConnectOffer"
import type { Flow } from "@valetkey/domain/Flow"
import { outcomeOf } from "@valetkey/domain/FlowOutcome"
import { Redacted } from "effect"
import type * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Page from "./Page.ts"
import type { PageTexts } from "./PageTexts.ts"

/** The page that says who connects what to whom, before the browser leaves. `token` is what its form sends back. */
export const offer = (
  texts: PageTexts,
  offered: ConnectOffer,
  token: string
): HttpServerResponse.HttpServerResponse => {
  const { connect } = texts
  const { key, snapshot } = offered.flow
  const host = (url: string | undefined) => hostOf(url) ?? connect.unknownHost
  const redirect = redirectOf(offered.flow)
  const provider = host(redirect?.authorizationEndpoint)
  const resource = snapshot?.resource
  const whose = Page.fillPlain(connect.whose, { subject: key.subject, tenant: key.tenant })
  const scopes = snapshot?.scopes ?? []
  return Page.page(
    Page.fillPlain(connect.title, { server: key.server }),
    `<p>${Page.fill(connect.asks, { whose: text(whose), resource: text(host(resource)) })}</p>` +
      facts([
        [connect.server, resource ?? key.server],
        [connect.owner, whose],
        [connect.provider, provider],
        [connect.scopes, scopes.length === 0 ? connect.noScopes : scopes.join(" ")],
        [connect.back, host(redirect?.redirectUri)]
      ]) +
      `<p>${Page.escape(connect.code)}<strong>${text(offered.compareCode)}</strong></p>` +
      `<p>${Page.escape(connect.otherCode)}</p>` +
      `<form method="post"><input type="hidden" name="token" value="${Page.escape(token)}">` +
      `<button type="submit">${Page.fill(connect.go, { provider: text(provider) })}</button></form>`,
    { texts, headers: Page.formHeaders }
  )
}

/**
 * The page that sends the browser to the provider. It is no redirect of the form, which would have the form's policy name
 * every provider; and no script, so there is a link as well.
 */
export const departure = (
  texts: PageTexts,
  flow: Flow,
  authorizationUrl: Redacted.Redacted
): HttpServerResponse.HttpServerResponse => {
  const { connect } = texts
  const { href } = new URL(Redacted.value(authorizationUrl))
  const provider = hostOf(redirectOf(flow)?.authorizationEndpoint) ?? connect.unknownHost
  return Page.page(
    connect.leaving,
    `<p><a href="${Page.escape(href)}">${Page.fill(connect.go, { provider: text(provider) })}</a></p>`,
    { texts, headers: { refresh: `0; url=${href}` } }
  )
}

/** How a flow stands whose ticket leads no further. */
export const outcome = (texts: PageTexts, flow: Flow): HttpServerResponse.HttpServerResponse => {
  const { sentence, title } = outcomeOf(flow, texts.flow)
  return Page.sentence(title, sentence, { texts })
}

/** A ticket that leads nowhere: never given out, or too old. */
export const gone = (texts: PageTexts): HttpServerResponse.HttpServerResponse =>
  Page.sentence(texts.connect.gone, texts.connect.goneText, { texts, status: 404 })

/** A ticket that another browser has taken. */
export const taken = (texts: PageTexts): HttpServerResponse.HttpServerResponse =>
  Page.sentence(texts.connect.taken, texts.connect.takenText, { texts, status: 403 })

/** A form that was not sent by the page of this browser. */
export const refused = (texts: PageTexts): HttpServerResponse.HttpServerResponse =>
  Page.sentence(texts.connect.refused, texts.connect.refusedText, { texts, status: 403 })

/** A store or a key that is away. */
export const notNow = (texts: PageTexts): HttpServerResponse.HttpServerResponse =>
  Page.sentence(texts.connect.notNow, texts.connect.notNowText, {
    texts,
    status: 503,
    headers: { "retry-after": "2" }
  })

/** As it is looked up, so that letters of another alphabet that look alike are seen. */
const hostOf = (url: string | undefined): string | undefined => url === undefined ? undefined : URL.parse(url)?.host

// Isolated, because a name may hold letters that turn the direction of what follows.
const text = (value: string): string => `<bdi>${Page.escape(value)}</bdi>`

const facts = (list: ReadonlyArray<readonly [term: string, fact: string]>): string =>
  `<dl>${list.map(([term, fact]) => `<dt>${Page.escape(term)}</dt><dd>${text(fact)}</dd>`).join("")}</dl>`

/** What the flow rests on. One that was handed off to a device has no ticket that leads here. */
const redirectOf = ({ snapshot }: Flow) => snapshot !== undefined && "redirectUri" in snapshot ? snapshot : undefined
