import type { CipherError } from "@valetkey/domain/Cipher"
import { DocumentTags } from "@valetkey/domain/DocumentTags"
import { rowOf } from "@valetkey/domain/Sealed"
import { Effect, Layer } from "effect"
import { makeRingTags, missing, type RingTagOptions, tagSize } from "./internal/ringTags.ts"
import type { KeyRing } from "./KeyRing.ts"

/** key id u32 | the tag; 27 characters of base64url. */
const layout = { tag: 4, length: 4 + tagSize } as const
const spelling = /^[\w-]{27}$/

/** Layer of the DocumentTags port over a key ring alone, whose first key makes them. Building it reads no key. */
export const layer = (options: RingTagOptions): Layer.Layer<DocumentTags> =>
  Layer.sync(DocumentTags, () => make(options, Effect.mapError(options.source.ring, missing)))

/** Makes the port; the primary key of `sealing` makes the tags, and a key that `knows` denies made none. */
export const make = (
  options: RingTagOptions,
  sealing: Effect.Effect<KeyRing, CipherError>,
  knows: (keyId: number) => boolean = () => true
): DocumentTags["Service"] => {
  const tags = makeRingTags(options, "valetkey/client-document/v1", knows)
  const taggedOf = (context: string, key: string): Buffer => Buffer.from(rowOf(context, key), "utf8")
  return DocumentTags.of({
    issue: (context, key) =>
      Effect.map(sealing, ({ primary }) => {
        const keyId = Buffer.alloc(layout.tag)
        keyId.writeUInt32BE(primary.id)
        return Buffer.concat([keyId, tags.of(primary, taggedOf(context, key))]).toString("base64url")
      }),
    judge: (context, key, tag) => {
      const bytes = Buffer.from(tag, "base64url")
      // One tag has one spelling: the bits that are left over are zero.
      if (!spelling.test(tag) || bytes.length !== layout.length || bytes.toString("base64url") !== tag) {
        return Effect.succeed("foreign")
      }
      return tags.judge(bytes.readUInt32BE(0), taggedOf(context, key), bytes.subarray(layout.tag))
    }
  })
}
