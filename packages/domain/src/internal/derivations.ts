import { Redacted } from "effect"
import type { Entropy } from "../Entropy.ts"

/**
 * The nonce of a flow: bound to it, and nothing more to store.
 *
 * @see OpenID Connect Core 1.0 §15.5.2
 */
export const nonceOf = (entropy: Entropy["Service"], codeVerifier: Redacted.Redacted): Redacted.Redacted =>
  derive(entropy, "nonce", codeVerifier)

/** What the browser of a flow takes to the embedding application: the same however often its response arrives. */
export const completionCodeOf = (entropy: Entropy["Service"], codeVerifier: Redacted.Redacted): Redacted.Redacted =>
  derive(entropy, "completion code", codeVerifier)

/** A digest of the verifier, which never leaves before the exchange. The label keeps each apart from the others and from the PKCE challenge. */
const derive = (entropy: Entropy["Service"], label: string, codeVerifier: Redacted.Redacted): Redacted.Redacted =>
  Redacted.make(entropy.digest(Redacted.make(`valetkey ${label} ${Redacted.value(codeVerifier)}`)))
