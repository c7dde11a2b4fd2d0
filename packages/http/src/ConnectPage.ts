import type { ConnectOffer } from "@valetkey/domain/ConnectOffer"
import type { Flow } from "@valetkey/domain/Flow"
import { outcomeOf } from "@valetkey/domain/FlowOutcome"
import { Redacted } from "effect"
import type * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Page from "./Page.ts"

/** The page that says who connects what to whom, before the browser leaves. `token` is what its form sends back. */
export const offer = (offered: ConnectOffer, token: string): HttpServerResponse.HttpServerResponse => {
  const { key, snapshot } = offered.flow
  const provider = hostOf(snapshot?.authorizationEndpoint)
  const resource = snapshot?.resource
  const whose = `${key.subject} of ${key.tenant}`
  const scopes = snapshot?.scopes ?? []
  return Page.page(
    `Connect ${key.server}`,
    `<p>${text(whose)} asks for access to your account at ${text(hostOf(resource))}. ` +
      "Go on only if that is you, and you started this yourself.</p>" +
      facts([
        ["Connect to", resource ?? key.server],
        ["The connection will belong to", whose],
        ["You sign in at", provider],
        ["It may then use", scopes.length === 0 ? "what the provider grants by itself" : scopes.join(" ")],
        ["You come back to", hostOf(snapshot?.redirectUri)]
      ]) +
      `<p>The program that you started shows this code:<strong>${text(offered.compareCode)}</strong></p>` +
      "<p>If it shows another one, or if you started nothing, close this page: somebody may be after your account.</p>" +
      `<form method="post"><input type="hidden" name="token" value="${Page.escape(token)}">` +
      `<button type="submit">Continue to ${text(provider)}</button></form>`,
    { headers: Page.formHeaders }
  )
}

/**
 * The page that sends the browser to the provider. It is no redirect of the form, which would have the form's policy name
 * every provider; and no script, so there is a link as well.
 */
export const departure = (flow: Flow, authorizationUrl: Redacted.Redacted): HttpServerResponse.HttpServerResponse => {
  const { href } = new URL(Redacted.value(authorizationUrl))
  return Page.page(
    "One moment",
    `<p><a href="${Page.escape(href)}">Continue to ${text(hostOf(flow.snapshot?.authorizationEndpoint))}</a></p>`,
    { headers: { refresh: `0; url=${href}` } }
  )
}

/** How a flow stands whose ticket leads no further. */
export const outcome = (flow: Flow): HttpServerResponse.HttpServerResponse => {
  const { sentence, title } = outcomeOf(flow)
  return Page.sentence(title, sentence)
}

/** A ticket that leads nowhere: never given out, or too old. */
export const gone = Page.sentence(
  "Not known",
  "This link is not valid, or its time is over. Start again in the program that gave it to you.",
  { status: 404 }
)

/** A ticket that another browser has taken. */
export const taken = Page.sentence(
  "Opened elsewhere",
  "This link was used in another browser, and works there alone. If that was not you, cancel in the program and start again.",
  { status: 403 }
)

/** A form that was not sent by the page of this browser. */
export const refused = Page.sentence(
  "Not sent from here",
  "The browser did not say that it comes from this page, or keeps no cookies. Nothing was changed: allow cookies, open the link again and go on from there.",
  { status: 403 }
)

/** A store or a key that is away. */
export const notNow = Page.sentence(
  "Not now",
  "The connection could not be begun right now. Open the link again in a moment; if it repeats, start again.",
  { status: 503, headers: { "retry-after": "2" } }
)

/** As it is looked up, so that letters of another alphabet that look alike are seen. */
const hostOf = (url: string | undefined): string => (url === undefined ? undefined : URL.parse(url)?.host) ?? "unknown"

// Isolated, because a name may hold letters that turn the direction of what follows.
const text = (value: string): string => `<bdi>${Page.escape(value)}</bdi>`

const facts = (list: ReadonlyArray<readonly [term: string, fact: string]>): string =>
  `<dl>${list.map(([term, fact]) => `<dt>${Page.escape(term)}</dt><dd>${text(fact)}</dd>`).join("")}</dl>`
