import { Context, type Effect, Schema } from "effect"
import type { CipherError } from "./Cipher.ts"
import type { StoreError } from "./StoreError.ts"

/** A root key as others may know it: its number, and a value that tells whether two processes hold the same bytes. */
export interface HeldKey {
  readonly id: number
  readonly checkValue: string
}

/** A key that was made. */
export interface AddedKey {
  readonly id: number
  /**
   * What the configuration of every replica has to be given before the key opens: the key as a service wrapped it, whose
   * bytes nobody has seen. Absent where the key opens already.
   */
  readonly entry?: string | undefined
}

/** Error of adding a key where the configuration holds the keys, not this process. */
export class KeysManagedElsewhere
  extends Schema.TaggedError<KeysManagedElsewhere>("valetkey/KeysManagedElsewhere")("KeysManagedElsewhere", {})
{
  readonly code = "keys_managed_elsewhere" as const
  override get message() {
    return "The keys of this server come from its configuration; append id:base64 of 32 random bytes to VALETKEY_KEYS, or to the file that they are read from, on every replica, restart them one by one, then promote the id"
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
  /**
   * Makes a key and adds it for opening; durable when it returns. Nothing is sealed under it until it is promoted. Where
   * the configuration holds wrapped keys nothing changes: the entry to configure is the result, and the only copy.
   */
  readonly add: Effect.Effect<AddedKey, CipherError | KeysManagedElsewhere | StoreError>
}>()("@valetkey/domain/HeldKeys") {}
