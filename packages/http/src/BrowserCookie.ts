import type { BrowserSecret } from "@valetkey/domain/ConnectOffer"
import type { Digest } from "@valetkey/domain/Entropy"
import { type Duration, Redacted } from "effect"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"

/** No other host and no other path can set or read a cookie of this prefix (RFC 6265bis §4.1.3.2). */
const prefix = "__Host-vk_"

/** How many flows one browser may have open; what it began first is forgotten first. */
const most = 10

/**
 * Not `Strict`: the browser comes back from the provider's site. Chromium takes `Secure` over http from a loopback host,
 * which is the one place where the public URL may be http; Safari does not.
 */
const attributes = { path: "/", secure: true, httpOnly: true, sameSite: "lax" } as const

/** The name of a flow's cookie: each flow has its own, so that tabs do not disturb each other. */
export const nameOf = (receipt: Digest): string => prefix + receipt.slice(0, 16)

/** What the browser of a request holds for a flow. */
export const secretsOf = ({ cookies }: HttpServerRequest.HttpServerRequest): BrowserSecret => (receipt) => {
  const value = cookies[nameOf(receipt)]
  return value !== undefined && /^[\w-]{43}$/.test(value) ? Redacted.make(value) : undefined
}

/** Whether the browser sent no cookie at all that it can only have from pages like these: then it keeps none. */
export const keepsNone = ({ cookies }: HttpServerRequest.HttpServerRequest): boolean =>
  !Object.keys(cookies).some((name) => name.startsWith("__Host-"))

/** The response that has the browser hold a secret for a flow for so long, and forget what it holds of too many others. */
export const keep = (
  response: HttpServerResponse.HttpServerResponse,
  request: HttpServerRequest.HttpServerRequest,
  cookie: { readonly receipt: Digest; readonly secret: Redacted.Redacted; readonly maxAge: Duration.Duration }
): HttpServerResponse.HttpServerResponse => {
  const name = nameOf(cookie.receipt)
  // A browser sends what it has had for longest first (RFC 6265 §5.4).
  const others = Object.keys(request.cookies).filter((other) => other.startsWith(prefix) && other !== name)
  return others.slice(0, Math.max(0, others.length + 1 - most)).reduce(
    (response, other) => HttpServerResponse.expireCookieUnsafe(response, other, attributes),
    HttpServerResponse.setCookieUnsafe(response, name, Redacted.value(cookie.secret), {
      ...attributes,
      maxAge: cookie.maxAge
    })
  )
}

/** The response that has the browser forget what it holds for a flow. */
export const forget = (
  response: HttpServerResponse.HttpServerResponse,
  receipt: Digest
): HttpServerResponse.HttpServerResponse => HttpServerResponse.expireCookieUnsafe(response, nameOf(receipt), attributes)
