import { assert, describe, it } from "@effect/vitest"
import { DocumentTags } from "@valetkey/domain/DocumentTags"
import { Context, Effect, Layer, Redacted } from "effect"
import { createHmac, hkdfSync, randomBytes } from "node:crypto"
import * as KeyRingDocumentTags from "../src/KeyRingDocumentTags.ts"
import * as KeySource from "../src/KeySource.ts"

const [one, two] = [randomBytes(32), randomBytes(32)]
const entry = (id: number, key: Buffer) => `${id}:${key.toString("base64")}`
const textOf = (...entries: ReadonlyArray<string>) => KeySource.fromText(Redacted.make(entries.join(",")))

const tagsOf = (source: KeySource.KeySource, instanceId = "inst") =>
  Effect.map(
    Layer.build(KeyRingDocumentTags.layer({ instanceId, source })),
    (services) => Context.get(services, DocumentTags)
  )

const publicKey = `${"x".repeat(43)}.${"y".repeat(43)}`

describe("KeyRingDocumentTags", () => {
  it.effect("REG-13 are the id of a key and a MAC over context and public key, under a key for nothing else", () =>
    Effect.gen(function*() {
      const tags = yield* tagsOf(textOf(entry(7, one)))
      const tag = yield* tags.issue("context", publicKey)
      assert.match(tag, /^[\w-]{27}$/)
      assert.strictEqual(yield* tags.issue("context", publicKey), tag)
      const bytes = Buffer.from(tag, "base64url")
      assert.strictEqual(bytes.readUInt32BE(0), 7)
      const key = Buffer.from(hkdfSync("sha256", one, "inst", "valetkey/client-document/v1", 32))
      const mac = createHmac("sha256", key).update(`context/${publicKey}`).digest()
      assert.isTrue(bytes.subarray(4).equals(mac.subarray(0, 16)))
      assert.strictEqual(yield* tags.judge("context", publicKey, tag), "ours")
    }).pipe(Effect.scoped))

  it.effect("REG-13 are foreign to another context, key, installation or root, and with any bit of them changed", () =>
    Effect.gen(function*() {
      const tags = yield* tagsOf(textOf(entry(7, one)))
      const tag = yield* tags.issue("context", publicKey)
      assert.strictEqual(yield* tags.judge("other", publicKey, tag), "foreign")
      assert.strictEqual(yield* tags.judge("context", publicKey.replace("x", "z"), tag), "foreign")
      assert.strictEqual(yield* tags.judge("context/x", publicKey.slice(1), tag), "foreign")
      for (const others of [yield* tagsOf(textOf(entry(7, two))), yield* tagsOf(textOf(entry(7, one)), "other")]) {
        assert.strictEqual(
          yield* tags.judge("context", publicKey, yield* others.issue("context", publicKey)),
          "foreign"
        )
      }
      for (let bit = 32; bit < 160; bit++) {
        const bytes = Buffer.from(tag, "base64url")
        bytes[bit >> 3]! ^= 1 << bit % 8
        assert.strictEqual(yield* tags.judge("context", publicKey, bytes.toString("base64url")), "foreign", String(bit))
      }
      // Another spelling of the same bytes is another URL.
      const last = tag.at(-1)!
      const twin = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"].find((letter) =>
        letter !== last && Buffer.from(tag.slice(0, -1) + letter, "base64url").equals(Buffer.from(tag, "base64url"))
      )!
      for (const text of ["", "a", tag.slice(1), `${tag}A`, tag.slice(0, -1) + twin]) {
        assert.strictEqual(yield* tags.judge("context", publicKey, text), "foreign", text)
      }
    }).pipe(Effect.scoped))

  it.effect("stay good when another key seals, and are undecided where theirs is configured no more", () =>
    Effect.gen(function*() {
      const tag = yield* (yield* tagsOf(textOf(entry(1, one)))).issue("context", publicKey)
      const promoted = yield* tagsOf(textOf(entry(2, two), entry(1, one)))
      assert.strictEqual(yield* promoted.judge("context", publicKey, tag), "ours")
      const removed = yield* tagsOf(textOf(entry(2, two)))
      assert.strictEqual(yield* removed.judge("context", publicKey, tag), "undecided")
    }).pipe(Effect.scoped))

  it.effect("fail closed without a key, both ways", () =>
    Effect.gen(function*() {
      const tags = yield* tagsOf(KeySource.fromText(undefined))
      assert.strictEqual((yield* Effect.flip(tags.issue("context", publicKey))).code, "encryption_key_missing")
      const tag = yield* (yield* tagsOf(textOf(entry(7, one)))).issue("context", publicKey)
      assert.strictEqual((yield* Effect.flip(tags.judge("context", publicKey, tag))).code, "encryption_key_missing")
    }).pipe(Effect.scoped))
})
