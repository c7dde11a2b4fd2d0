import type { AuthorizationRequest } from "@valetkey/domain/AuthorizationServer"
import { Redacted } from "effect"
import { hash } from "node:crypto"

/** Parameters that are ours alone: neither configuration nor the endpoint's own query may set one. */
const reserved = [
  "response_type",
  "response_mode",
  "client_id",
  "redirect_uri",
  "scope",
  "state",
  "code_challenge",
  "code_challenge_method",
  "resource",
  "nonce",
  "request",
  "request_uri"
]

/**
 * Builds the authorization URL, each protocol parameter exactly once.
 *
 * @see RFC 6749 §4.1.1, RFC 7636 §4.3, RFC 8707 §2, OpenID Connect Core 1.0 §3.1.2.1
 */
export const make = (request: AuthorizationRequest): Redacted.Redacted => {
  const url = new URL(request.authorizationEndpoint)
  for (const name of reserved) url.searchParams.delete(name)
  for (const [name, value] of Object.entries(request.parameters)) {
    if (!reserved.includes(name)) url.searchParams.set(name, value)
  }
  url.searchParams.set("response_type", "code")
  url.searchParams.set("client_id", request.clientId)
  url.searchParams.set("redirect_uri", request.redirectUri)
  if (request.scopes.length > 0) url.searchParams.set("scope", request.scopes.join(" "))
  url.searchParams.set("state", Redacted.value(request.state))
  url.searchParams.set("code_challenge", codeChallenge(request.codeVerifier))
  url.searchParams.set("code_challenge_method", "S256")
  if (request.nonce !== undefined) url.searchParams.set("nonce", Redacted.value(request.nonce))
  if (request.resource !== undefined) url.searchParams.set("resource", request.resource)
  return Redacted.make(url.href)
}

/** The S256 challenge of a verifier (RFC 7636 §4.2). */
export const codeChallenge = (codeVerifier: Redacted.Redacted): string =>
  hash("sha256", Redacted.value(codeVerifier), "base64url")
