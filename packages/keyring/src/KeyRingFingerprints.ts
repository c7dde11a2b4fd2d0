import { CipherError } from "@valetkey/domain/Cipher"
import { type FingerprintPurpose, Fingerprints } from "@valetkey/domain/Fingerprints"
import { Effect, Layer, Redacted } from "effect"
import { createHmac, createSecretKey, hkdfSync, type KeyObject } from "node:crypto"
import type { KeySource } from "./KeySource.ts"

/**
 * Layer of the Fingerprints port under keys that are derived from the primary root key, one for each purpose. A copied
 * log is useless for guessing: without the root key nobody can compute a fingerprint.
 */
export const layer = (options: {
  /** The installation: the same secret has another fingerprint elsewhere. */
  readonly instanceId: string
  readonly source: KeySource
}): Layer.Layer<Fingerprints> =>
  Layer.sync(Fingerprints, () => {
    let derived: { readonly root: KeyObject; readonly keys: Map<FingerprintPurpose, KeyObject> } | undefined
    const keyOf = (root: KeyObject, purpose: FingerprintPurpose): KeyObject => {
      if (derived?.root !== root) derived = { root, keys: new Map() }
      const known = derived.keys.get(purpose)
      if (known !== undefined) return known
      const key = derive(root, options.instanceId, purpose)
      derived.keys.set(purpose, key)
      return key
    }

    return Fingerprints.of({
      of: (purpose, secret) =>
        options.source.ring.pipe(
          Effect.mapError(() => new CipherError({ code: "encryption_key_missing" })),
          Effect.map(({ primary }) => {
            const mac = createHmac("sha256", keyOf(primary.secret, purpose)).update(Redacted.value(secret)).digest(
              "hex"
            )
            return `${primary.id}:${mac.slice(0, 16)}`
          })
        )
    })
  })

const derive = (root: KeyObject, instanceId: string, purpose: FingerprintPurpose): KeyObject => {
  const bytes = Buffer.from(hkdfSync("sha256", root, instanceId, `valetkey/fingerprint/v1\0${purpose}`, 32))
  const key = createSecretKey(bytes)
  bytes.fill(0)
  return key
}
