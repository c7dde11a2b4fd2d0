import { Redacted } from "effect"
import type { Entropy } from "../Entropy.ts"

/**
 * The nonce of a flow: a digest of its code verifier, so that it is bound to the flow and nothing more is stored. The label
 * keeps it apart from the PKCE challenge.
 *
 * @see OpenID Connect Core 1.0 §15.5.2
 */
export const nonceOf = (entropy: Entropy["Service"], codeVerifier: Redacted.Redacted): Redacted.Redacted =>
  Redacted.make(entropy.digest(Redacted.make(`valetkey nonce ${Redacted.value(codeVerifier)}`)))
