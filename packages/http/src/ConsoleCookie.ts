import type { ConsoleSession } from "@valetkey/domain/ConsoleSession"
import { DateTime, Redacted } from "effect"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"

/** No other host and no other path can set or read it (RFC 6265bis §4.1.3.2). Not one of the cookies of flows. */
const name = "__Host-valetkey_console"

/** `Strict`: no page of another site leads into a session, not even by a link. */
const attributes = { path: "/", secure: true, httpOnly: true, sameSite: "strict" } as const

/** The secret of the session that the browser of a request holds. */
export const secretOf = ({ cookies }: HttpServerRequest.HttpServerRequest): Redacted.Redacted | undefined => {
  const value = cookies[name]
  return value !== undefined && /^[\w-]{43}$/.test(value) ? Redacted.make(value) : undefined
}

/** The response that has the browser hold the secret of a session for as long as it may live. */
export const keep = (
  response: HttpServerResponse.HttpServerResponse,
  secret: Redacted.Redacted,
  lifetime: Pick<ConsoleSession, "createdAt" | "expiresAt">
): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.setCookieUnsafe(response, name, Redacted.value(secret), {
    ...attributes,
    // Both by the clock of the store; a link lives for some minutes before its session, so this is never too short.
    maxAge: DateTime.distance(lifetime.createdAt, lifetime.expiresAt)
  })

/** The response that has the browser forget its session. */
export const forget = (response: HttpServerResponse.HttpServerResponse): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.expireCookieUnsafe(response, name, attributes)
