import { Context, type Effect, type Redacted, Schema } from "effect"
import type { SealContext, Sealed } from "./Sealed.ts"

/** Error of sealing or opening. No plaintext was produced and nothing was written. */
export class CipherError extends Schema.TaggedError<CipherError>("valetkey/CipherError")("CipherError", {
  code: Schema.Literals([
    "encryption_key_missing",
    "encryption_key_unavailable",
    "encryption_key_mismatch",
    "instance_mismatch",
    "integrity_error"
  ])
}) {
  override get message() {
    switch (this.code) {
      case "encryption_key_missing":
        return "There is no usable encryption key; set VALETKEY_KEYS, restore the key file or bring the key service back, then retry"
      case "encryption_key_unavailable":
        return "The encryption key that sealed this value is not in the key ring; add it for decryption, then retry"
      case "encryption_key_mismatch":
        return "A configured encryption key is not the one that this installation knows by its id; restore the right key, then retry"
      case "instance_mismatch":
        return "The database belongs to another instance, so nothing that it holds is used; set the instance id that it knows, or run valetkey takeover --confirm if the other instance is gone for good"
      case "integrity_error":
        return "A stored secret failed its integrity check; it was altered or belongs to another row or instance"
    }
  }
}

/** Port: authenticated encryption of secrets at rest, bound to where they are stored. */
export class Cipher extends Context.Service<Cipher, {
  /** Encrypts under the primary key. Two calls never give the same envelope. Reads the key lazily and fails closed without it. */
  seal(context: SealContext, plaintext: Redacted.Redacted): Effect.Effect<Sealed, CipherError>
  /** Decrypts with the key that the envelope names. Any other context, key or byte is `integrity_error`; no plaintext leaves. */
  open(context: SealContext, sealed: Sealed): Effect.Effect<Redacted.Redacted, CipherError>
}>()("@valetkey/domain/Cipher") {}
