import type { CipherError } from "@valetkey/domain/Cipher"
import { StateTags } from "@valetkey/domain/StateTags"
import { Effect, Layer, Redacted } from "effect"
import { randomBytes } from "node:crypto"
import { makeRingTags, missing, type RingTagOptions, tagSize } from "./internal/ringTags.ts"
import type { KeyRing } from "./KeyRing.ts"

/** What the tags are bound to, and where their keys come from. */
export type KeyRingStateTagsOptions = RingTagOptions

/** random 32 | key id u32 | the tag over both; 70 characters of base64url. */
const layout = { keyId: 32, tag: 36, length: 36 + tagSize } as const
const spelling = /^[\w-]{70}$/

/** Layer of the StateTags port over a key ring alone, whose first key makes them. Building it reads no key. */
export const layer = (options: KeyRingStateTagsOptions): Layer.Layer<StateTags> =>
  Layer.sync(StateTags, () => make(options, Effect.mapError(options.source.ring, missing)))

/**
 * Makes the port; the primary key of `sealing` makes the tags. A key that the installation never had, as far as `knows`
 * tells without asking, made none: what names it is foreign like any other junk.
 */
export const make = (
  options: KeyRingStateTagsOptions,
  sealing: Effect.Effect<KeyRing, CipherError>,
  knows: (keyId: number) => boolean = () => true
): StateTags["Service"] => {
  const tags = makeRingTags(options, "valetkey/state/v1", knows)
  return StateTags.of({
    issue: Effect.map(sealing, ({ primary }) => {
      const tagged = Buffer.concat([randomBytes(layout.keyId), Buffer.alloc(layout.tag - layout.keyId)])
      tagged.writeUInt32BE(primary.id, layout.keyId)
      return Redacted.make(Buffer.concat([tagged, tags.of(primary, tagged)]).toString("base64url"))
    }),
    judge: (state) => {
      const text = Redacted.value(state)
      if (!spelling.test(text)) return Effect.succeed("foreign")
      const bytes = Buffer.from(text, "base64url")
      return tags.judge(bytes.readUInt32BE(layout.keyId), bytes.subarray(0, layout.tag), bytes.subarray(layout.tag))
    }
  })
}
