import { CipherError } from "@valetkey/domain/Cipher"
import type { StateVerdict } from "@valetkey/domain/StateTags"
import { Effect } from "effect"
import { createHmac, createSecretKey, hkdfSync, type KeyObject, timingSafeEqual } from "node:crypto"
import type { RootKey } from "../Envelope.ts"
import type { KeyRing } from "../KeyRing.ts"
import type { KeySource } from "../KeySource.ts"

/** What tags are bound to, and where their keys come from. */
export interface RingTagOptions {
  /** The installation: another one's tags are junk here. */
  readonly instanceId: string
  /** The installations whose tags are good as well, because this one took their place. */
  readonly former?: (() => ReadonlyArray<string>) | undefined
  readonly source: KeySource
}

/** The size of a tag in bytes. */
export const tagSize = 16

/** Tags of one purpose under the keys of a ring: the first half of HMAC-SHA256 under a key that is derived for it. */
export interface RingTags {
  of(root: RootKey, tagged: Uint8Array): Buffer
  /**
   * Judges a tag by the keys that this process holds, in constant time. A key that is not here may have been added
   * meanwhile, on another replica or to the file, so the source is read once more.
   */
  judge(keyId: number, tagged: Uint8Array, tag: Uint8Array): Effect.Effect<StateVerdict, CipherError>
}

/**
 * Makes the tags of a purpose. A key that the installation never had, as far as `knows` tells without asking, made none:
 * what names it is foreign like any other junk.
 */
export const makeRingTags = (
  { former, instanceId, source }: RingTagOptions,
  purpose: string,
  knows: (keyId: number) => boolean
): RingTags => {
  const derived = new WeakMap<KeyObject, Map<string, KeyObject>>()
  const tagOf = (root: KeyObject, instance: string, tagged: Uint8Array): Buffer => {
    const keys = derived.get(root) ?? new Map<string, KeyObject>()
    derived.set(root, keys)
    const key = keys.get(instance) ?? derive(root, instance, purpose)
    keys.set(instance, key)
    return createHmac("sha256", key).update(tagged).digest().subarray(0, tagSize)
  }

  const judgeBy = ({ keys }: KeyRing, keyId: number, tagged: Uint8Array, tag: Uint8Array): StateVerdict => {
    const key = keys.get(keyId)
    if (key === undefined) return knows(keyId) ? "undecided" : "foreign"
    const isOurs = [instanceId, ...former?.() ?? []].some((instance) =>
      timingSafeEqual(tag, tagOf(key.secret, instance, tagged))
    )
    return isOurs ? "ours" : "foreign"
  }

  return {
    of: (root, tagged) => tagOf(root.secret, instanceId, tagged),
    judge: (keyId, tagged, tag) =>
      Effect.flatMap(Effect.mapError(source.ring, missing), (ring) => {
        const verdict = judgeBy(ring, keyId, tagged, tag)
        return ring.keys.has(keyId) ? Effect.succeed(verdict) : Effect.match(source.reload, {
          onFailure: () => verdict,
          onSuccess: (renewed) => judgeBy(renewed, keyId, tagged, tag)
        })
      })
  }
}

const derive = (root: KeyObject, instanceId: string, purpose: string): KeyObject => {
  const bytes = Buffer.from(hkdfSync("sha256", root, instanceId, purpose, 32))
  const key = createSecretKey(bytes)
  bytes.fill(0)
  return key
}

/** What is missing where no key can be read. */
export const missing = () => new CipherError({ code: "encryption_key_missing" })
