import { Context, type Effect, type Redacted, Schema } from "effect"
import type { CipherError } from "./Cipher.ts"

/** Schema for what a fingerprinted secret is: the same text as another kind of secret has another fingerprint. */
export const FingerprintPurpose = Schema.Literals(["access_token", "refresh_token"])
export type FingerprintPurpose = typeof FingerprintPurpose.Type

/** Port: names for secrets that only a holder of the root key can connect to them. Beside `Cipher`, and never a secret. */
export class Fingerprints extends Context.Service<Fingerprints, {
  /**
   * The id of the key and eight bytes of a keyed hash, as text. Equal secrets have equal fingerprints for as long as the
   * primary key is the same; without the key nobody can tell whether a guess is right.
   */
  of(purpose: FingerprintPurpose, secret: Redacted.Redacted): Effect.Effect<string, CipherError>
}>()("@valetkey/domain/Fingerprints") {}
