import { Context, type Effect, type Redacted, Schema } from "effect"

/** Schema for a SHA-256 digest in base64url: what is stored in place of a `state` or a binding. */
export const Digest = Schema.String.check(Schema.isPattern(/^[A-Za-z0-9_-]{43}$/)).pipe(Schema.brand("Digest"))
export type Digest = typeof Digest.Type

/** Port: unguessable values and digests, from the platform's cryptography. */
export class Entropy extends Context.Service<Entropy, {
  /** 256 bits from the system's generator, base64url without padding (43 characters, a valid PKCE verifier: RFC 7636 §4.1). */
  readonly secret: Effect.Effect<Redacted.Redacted>
  /** A fresh ES256 key as a private JWK with `kid` and `alg` (RFC 7517, RFC 7518 §6.2), for one signer alone. */
  readonly signingKey: Effect.Effect<Redacted.Redacted>
  /** A fresh identifier that sorts by time (UUID version 7, RFC 9562 §5.7). Not a secret. */
  readonly id: Effect.Effect<string>
  /** SHA-256 of the UTF-8 bytes, base64url without padding. Equal digests mean equal secrets. */
  digest(secret: Redacted.Redacted): Digest
  /** The same of text that is no secret. */
  digestOf(text: string): Digest
}>()("@valetkey/domain/Entropy") {}
