import type { AuthorizationRequest } from "@valetkey/domain/AuthorizationServer"
import { ownedParameters } from "@valetkey/domain/Server"
import { Redacted } from "effect"
import { hash } from "node:crypto"
import { thumbprintOf } from "./internal/proofs.ts"

/**
 * Builds the authorization URL, each protocol parameter exactly once.
 *
 * @see RFC 6749 §4.1.1, RFC 7636 §4.3, RFC 8707 §2, RFC 9449 §10, OpenID Connect Core 1.0 §3.1.2.1, JARM §2.3
 */
export const make = (request: AuthorizationRequest): Redacted.Redacted => {
  const url = new URL(request.authorizationEndpoint)
  // A list of its own: one that belongs to a URL writes the URL anew at every change.
  const query = new URLSearchParams(url.search)
  const { parameter, separator } = request.scopesAs ?? { parameter: "scope", separator: "space" }
  for (const name of ownedParameters) query.delete(name)
  for (const [name, value] of Object.entries(request.parameters)) {
    if (!ownedParameters.includes(name)) query.set(name, value)
  }
  // Before all others: whatever the parameter is called, it replaces none of them.
  if (request.scopes.length > 0) query.set(parameter, request.scopes.join(separator === "comma" ? "," : " "))
  query.set("response_type", "code")
  if (request.responseMode !== undefined) query.set("response_mode", request.responseMode)
  query.set("client_id", request.clientId)
  query.set("redirect_uri", request.redirectUri)
  query.set("state", Redacted.value(request.state))
  query.set("code_challenge", codeChallenge(request.codeVerifier))
  query.set("code_challenge_method", "S256")
  if (request.nonce !== undefined) query.set("nonce", Redacted.value(request.nonce))
  const thumbprint = request.proofKey && thumbprintOf(request.proofKey)
  if (thumbprint !== undefined) query.set("dpop_jkt", thumbprint)
  if (request.resource !== undefined) query.set("resource", request.resource)
  url.search = query.toString()
  return Redacted.make(url.href)
}

/** The S256 challenge of a verifier (RFC 7636 §4.2). */
export const codeChallenge = (codeVerifier: Redacted.Redacted): string =>
  hash("sha256", Redacted.value(codeVerifier), "base64url")
