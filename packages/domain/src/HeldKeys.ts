import { Context, type Effect, Schema } from "effect"
import type { CipherError } from "./Cipher.ts"
import type { StoreError } from "./StoreError.ts"

/** A root key as others may know it: its number, and a value that tells whether two processes hold the same bytes. */
export interface HeldKey {
  readonly id: number
  readonly checkValue: string
}

/** Error of adding a key where the configuration holds the keys, not this process. */
export class KeysManagedElsewhere
  extends Schema.TaggedError<KeysManagedElsewhere>("valetkey/KeysManagedElsewhere")("KeysManagedElsewhere", {})
{
  readonly code = "keys_managed_elsewhere" as const
  override get message() {
    return "The keys of this server come from its configuration; append id:base64 of 32 random bytes to VALETKEY_KEYS on every replica, restart them one by one, then promote the id"
  }
}

/** Port: the root keys that this process holds. It never gives their bytes. */
export class HeldKeys extends Context.Service<HeldKeys, {
  /**
   * Reads the configured keys anew, at most once a second, and enters those in the register that it does not know. What
   * the cipher seals with and refuses follows the register from then on. The first is the one that configuration prefers.
   */
  readonly refresh: Effect.Effect<ReadonlyArray<HeldKey>, CipherError | StoreError>
  /**
   * Fails when what this process holds cannot do the work of the installation: no key, other bytes under a known id, or
   * not the key that is primary.
   */
  readonly verify: Effect.Effect<void, CipherError | StoreError>
  /** Makes a key and adds it for opening; durable when it returns. Nothing is sealed under it until it is promoted. */
  readonly add: Effect.Effect<HeldKey, CipherError | KeysManagedElsewhere | StoreError>
}>()("@valetkey/domain/HeldKeys") {}
