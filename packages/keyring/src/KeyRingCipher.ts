import { Cipher, CipherError } from "@valetkey/domain/Cipher"
import type { SealContext, Sealed } from "@valetkey/domain/Sealed"
import { Effect, Layer, Redacted, Result } from "effect"
import * as Envelope from "./Envelope.ts"
import type { KeyRing } from "./KeyRing.ts"
import type { KeySource } from "./KeySource.ts"

/** What the cipher is bound to, and where its keys come from. */
export interface KeyRingCipherOptions {
  /** The installation; part of every envelope's context, so that a copied database does not open elsewhere. */
  readonly instanceId: string
  readonly source: KeySource
  /** How many derived keys are remembered, 4096 by default. */
  readonly derivedKeys?: number | undefined
}

/** Layer of the Cipher port over a key ring. Building it reads no key. */
export const layer = (options: KeyRingCipherOptions): Layer.Layer<Cipher> => Layer.sync(Cipher, () => make(options))

const make = ({ derivedKeys, instanceId: instance, source }: KeyRingCipherOptions): Cipher["Service"] => {
  const ring = Effect.mapError(source.ring, () => new CipherError({ code: "encryption_key_missing" }))

  let cached: { readonly ring: KeyRing; readonly keys: Envelope.DerivedKeyCache } | undefined
  const cacheOf = (ring: KeyRing): Envelope.DerivedKeyCache => {
    if (cached?.ring !== ring) cached = { ring, keys: new Envelope.DerivedKeyCache(derivedKeys) }
    return cached.keys
  }

  const openWith = (ring: KeyRing, context: SealContext, sealed: Sealed) =>
    Envelope.open((id) => ring.keys.get(id), { ...context, instance }, sealed, cacheOf(ring))

  return Cipher.of({
    seal: (context, plaintext) =>
      Effect.map(ring, ({ primary }) => {
        const bytes = Buffer.from(Redacted.value(plaintext), "utf8")
        const sealed = Envelope.seal(primary, { ...context, instance }, bytes)
        bytes.fill(0)
        return sealed as Sealed
      }),
    open: Effect.fnUntraced(function*(context, sealed) {
      const current = yield* ring
      let opened = openWith(current, context, sealed)
      if (Result.isFailure(opened) && opened.failure === "key_unavailable") {
        // The key may have been added to the source after it was read: on another replica, or to the file.
        const renewed = yield* Effect.orElseSucceed(source.reload, () => current)
        opened = openWith(renewed, context, sealed)
      }
      if (Result.isFailure(opened)) {
        const code = opened.failure === "key_unavailable" ? "encryption_key_unavailable" : "integrity_error"
        return yield* new CipherError({ code })
      }
      const plaintext = Redacted.make(opened.success.toString("utf8"))
      opened.success.fill(0)
      return plaintext
    })
  })
}
