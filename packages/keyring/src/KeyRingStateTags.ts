import { CipherError } from "@valetkey/domain/Cipher"
import { StateTags, type StateVerdict } from "@valetkey/domain/StateTags"
import { Effect, Layer, Redacted } from "effect"
import { createHmac, createSecretKey, hkdfSync, type KeyObject, randomBytes, timingSafeEqual } from "node:crypto"
import type { KeyRing } from "./KeyRing.ts"
import type { KeySource } from "./KeySource.ts"

/** What the tags are bound to, and where their keys come from. */
export interface KeyRingStateTagsOptions {
  /** The installation: another one's tags are junk here. */
  readonly instanceId: string
  /** The installations whose flows this one took over. */
  readonly former?: (() => ReadonlyArray<string>) | undefined
  readonly source: KeySource
}

/** random 32 | key id u32 | the first 16 bytes of HMAC-SHA256 over both; 70 characters of base64url. */
const layout = { keyId: 32, tag: 36, length: 52 } as const
const spelling = /^[\w-]{70}$/

/** Layer of the StateTags port over a key ring alone, whose first key makes them. Building it reads no key. */
export const layer = (options: KeyRingStateTagsOptions): Layer.Layer<StateTags> =>
  Layer.sync(StateTags, () => make(options, Effect.mapError(options.source.ring, missing)))

/**
 * Makes the port; the primary key of `sealing` makes the tags. A key that the installation never had, as far as `knows`
 * tells without asking, made none: what names it is foreign like any other junk.
 */
export const make = (
  { former, instanceId, source }: KeyRingStateTagsOptions,
  sealing: Effect.Effect<KeyRing, CipherError>,
  knows: (keyId: number) => boolean = () => true
): StateTags["Service"] => {
  const derived = new WeakMap<KeyObject, Map<string, KeyObject>>()
  const tagOf = (root: KeyObject, instance: string, tagged: Buffer): Buffer => {
    const keys = derived.get(root) ?? new Map<string, KeyObject>()
    derived.set(root, keys)
    const key = keys.get(instance) ?? derive(root, instance)
    keys.set(instance, key)
    return createHmac("sha256", key).update(tagged).digest().subarray(0, layout.length - layout.tag)
  }

  const judgeBy = ({ keys }: KeyRing, bytes: Buffer): StateVerdict => {
    const keyId = bytes.readUInt32BE(layout.keyId)
    const key = keys.get(keyId)
    if (key === undefined) return knows(keyId) ? "undecided" : "foreign"
    const [tagged, tag] = [bytes.subarray(0, layout.tag), bytes.subarray(layout.tag)]
    const isOurs = [instanceId, ...former?.() ?? []].some((instance) =>
      timingSafeEqual(tag, tagOf(key.secret, instance, tagged))
    )
    return isOurs ? "ours" : "foreign"
  }

  return StateTags.of({
    issue: Effect.map(sealing, ({ primary }) => {
      const tagged = Buffer.concat([randomBytes(layout.keyId), Buffer.alloc(layout.tag - layout.keyId)])
      tagged.writeUInt32BE(primary.id, layout.keyId)
      return Redacted.make(Buffer.concat([tagged, tagOf(primary.secret, instanceId, tagged)]).toString("base64url"))
    }),
    judge: (state) => {
      const text = Redacted.value(state)
      if (!spelling.test(text)) return Effect.succeed("foreign")
      const bytes = Buffer.from(text, "base64url")
      return Effect.flatMap(Effect.mapError(source.ring, missing), (ring) => {
        const verdict = judgeBy(ring, bytes)
        return ring.keys.has(bytes.readUInt32BE(layout.keyId)) ? Effect.succeed(verdict) : Effect.match(source.reload, {
          onFailure: () => verdict,
          // The key may have been added meanwhile: on another replica, or to the file.
          onSuccess: (renewed) => judgeBy(renewed, bytes)
        })
      })
    }
  })
}

const derive = (root: KeyObject, instanceId: string): KeyObject => {
  const bytes = Buffer.from(hkdfSync("sha256", root, instanceId, "valetkey/state/v1", 32))
  const key = createSecretKey(bytes)
  bytes.fill(0)
  return key
}

const missing = () => new CipherError({ code: "encryption_key_missing" })
