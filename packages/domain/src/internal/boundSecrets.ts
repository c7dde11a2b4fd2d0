import { Redacted } from "effect"

/**
 * A secret in one envelope with the key that it is bound to (RFC 9449): nobody opens one without the other, and whoever
 * seals an envelope anew, moves or deletes it does so with both. The key is a JWK on one line, and no token and no verifier
 * has a line break, so a secret without a key is written as ever.
 */
export interface BoundSecret {
  readonly secret: Redacted.Redacted
  /** The private key, as a JWK. */
  readonly proofKey: Redacted.Redacted | undefined
}

/** What is sealed. */
export const bind = (secret: Redacted.Redacted, proofKey: Redacted.Redacted | undefined): Redacted.Redacted =>
  proofKey === undefined ? secret : Redacted.make(`${Redacted.value(proofKey)}\n${Redacted.value(secret)}`)

/** What was sealed. */
export const unbind = (opened: Redacted.Redacted): BoundSecret => {
  const text = Redacted.value(opened)
  const end = text.indexOf("\n")
  return end < 0
    ? { secret: opened, proofKey: undefined }
    : { secret: Redacted.make(text.slice(end + 1)), proofKey: Redacted.make(text.slice(0, end)) }
}
