import { assert, describe, it } from "@effect/vitest"
import { KeyRegister, type KeyState } from "@valetkey/domain/KeyRegister"
import { StateTags } from "@valetkey/domain/StateTags"
import { Context, DateTime, Effect, Layer, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { createHmac, hkdfSync, randomBytes } from "node:crypto"
import * as KeyRingCipher from "../src/KeyRingCipher.ts"
import * as KeyRingStateTags from "../src/KeyRingStateTags.ts"
import * as KeySource from "../src/KeySource.ts"

const [one, two] = [randomBytes(32), randomBytes(32)]
const entry = (id: number, key: Buffer) => `${id}:${key.toString("base64")}`
const textOf = (...entries: ReadonlyArray<string>) => KeySource.fromText(Redacted.make(entries.join(",")))

const tagsOf = (source: KeySource.KeySource, options: Partial<KeyRingStateTags.KeyRingStateTagsOptions> = {}) =>
  Effect.map(
    Layer.build(KeyRingStateTags.layer({ instanceId: "inst", source, ...options })),
    (services) => Context.get(services, StateTags)
  )

const flipped = (state: string, at: number): string => {
  const bytes = Buffer.from(state, "base64url")
  bytes[at] = bytes[at]! ^ 1
  return bytes.toString("base64url")
}

describe("KeyRingStateTags", () => {
  it.effect("FLOW-03 issues 256 random bits, the id of the key and their MAC under a key of its own, and nothing else", () =>
    Effect.gen(function*() {
      const tags = yield* tagsOf(textOf(entry(7, one)))
      const key = Buffer.from(hkdfSync("sha256", one, "inst", "valetkey/state/v1", 32))
      const heads = new Set<string>()
      for (let count = 0; count < 1000; count++) {
        const state = Redacted.value(yield* tags.issue)
        assert.match(state, /^[\w-]{70}$/)
        const bytes = Buffer.from(state, "base64url")
        heads.add(bytes.subarray(0, 32).toString("hex"))
        assert.strictEqual(bytes.readUInt32BE(32), 7)
        const mac = createHmac("sha256", key).update(bytes.subarray(0, 36)).digest()
        assert.isTrue(bytes.subarray(36).equals(mac.subarray(0, 16)))
        assert.strictEqual(yield* tags.judge(Redacted.make(state)), "ours")
      }
      assert.strictEqual(heads.size, 1000)
      // Every bit of the random part is seen both ways.
      const ones = Array.from(
        { length: 256 },
        (_, bit) =>
          [...heads].filter((head) => (parseInt(head.slice(bit >> 2, (bit >> 2) + 1), 16) >> (3 - bit % 4)) & 1).length
      )
      for (const count of ones) assert.isTrue(count > 350 && count < 650, String(count))
    }).pipe(Effect.scoped))

  it.effect("FLOW-02 calls foreign whatever differs by a bit, has another shape, or was made elsewhere", () =>
    Effect.gen(function*() {
      const tags = yield* tagsOf(textOf(entry(7, one)))
      const state = Redacted.value(yield* tags.issue)
      const elsewhere = [
        yield* tagsOf(textOf(entry(7, two))),
        yield* tagsOf(textOf(entry(7, one)), { instanceId: "other" })
      ]
      const junk = [
        ...Array.from({ length: 52 }, (_, at) => at).filter((at) => at < 32 || at >= 36).map((at) =>
          flipped(state, at)
        ),
        randomBytes(32).toString("base64url"),
        state.slice(0, 69),
        `${state}A`,
        ` ${state.slice(1)}`,
        `${state.slice(0, 69)}=`,
        ...yield* Effect.forEach(elsewhere, ({ issue }) => Effect.map(issue, Redacted.value))
      ]
      for (const text of junk) assert.strictEqual(yield* tags.judge(Redacted.make(text)), "foreign", text)
      // A key that is not here could have made it.
      assert.strictEqual(yield* tags.judge(Redacted.make(flipped(state, 35))), "undecided")
    }).pipe(Effect.scoped))

  it.effect("takes those of an installation that was taken over", () =>
    Effect.gen(function*() {
      const before = yield* tagsOf(textOf(entry(7, one)), { instanceId: "former" })
      const state = yield* before.issue
      const after = yield* tagsOf(textOf(entry(7, one)), { former: () => ["former"] })
      assert.strictEqual(yield* after.judge(state), "ours")
      assert.strictEqual(yield* before.judge(yield* after.issue), "foreign")
    }).pipe(Effect.scoped))

  it.effect("fails closed without a key, both ways", () =>
    Effect.gen(function*() {
      const tags = yield* tagsOf(KeySource.fromText(undefined))
      const state = yield* (yield* tagsOf(textOf(entry(7, one)))).issue
      assert.strictEqual((yield* Effect.flip(tags.issue)).code, "encryption_key_missing")
      assert.strictEqual((yield* Effect.flip(tags.judge(state))).code, "encryption_key_missing")
      // What cannot be one of ours needs no key to say so.
      assert.strictEqual(yield* tags.judge(Redacted.make("junk")), "foreign")
    }).pipe(Effect.scoped))

  it.effect("reads the source anew, once a second, for the id of a key that is not held", () =>
    Effect.gen(function*() {
      let reads = 0
      let ring = [entry(1, one)]
      const tags = yield* tagsOf(KeySource.make(Effect.suspend(() => {
        reads++
        return textOf(...ring).ring
      })))
      const [mine, added] = [yield* tags.issue, yield* (yield* tagsOf(textOf(entry(2, two)))).issue]
      yield* TestClock.adjust("1 second")
      for (let count = 0; count < 100; count++) assert.strictEqual(yield* tags.judge(added), "undecided")
      assert.strictEqual(reads, 2)
      ring = [entry(1, one), entry(2, two)]
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* tags.judge(added), "ours")
      assert.strictEqual(yield* tags.judge(mine), "ours")
      assert.strictEqual(reads, 3)
    }).pipe(Effect.scoped))

  it.effect("follows the register in making, and in judging only what is configured: rotation ends no flow", () =>
    Effect.gen(function*() {
      const states: Record<number, KeyState> = { 1: "primary", 2: "active" }
      const register = KeyRegister.of({
        list: Effect.sync(() =>
          Object.entries(states).map(([id, state]) => ({
            id: Number(id),
            state,
            checkValue: createHmac("sha256", id === "1" ? one : two).update("kcv").digest("hex").slice(0, 16),
            firstSeenAt: DateTime.makeUnsafe(0)
          }))
        ),
        enroll: () => Effect.void,
        promote: () => Effect.succeed(false),
        retire: () => Effect.succeed(false)
      })
      const replica = (...entries: ReadonlyArray<string>) =>
        Effect.map(
          Layer.build(
            KeyRingCipher.layerRegistered({ instanceId: "inst", source: textOf(...entries) }).pipe(
              Layer.provide(Layer.succeed(KeyRegister, register))
            )
          ),
          (services) => Context.get(services, StateTags)
        )
      const keyIdOf = (state: Redacted.Redacted) => Buffer.from(Redacted.value(state), "base64url").readUInt32BE(32)
      const [a, b] = [yield* replica(entry(1, one), entry(2, two)), yield* replica(entry(2, two), entry(1, one))]
      const begun = yield* a.issue
      assert.deepStrictEqual([keyIdOf(begun), keyIdOf(yield* b.issue)], [1, 1])
      Object.assign(states, { 1: "active", 2: "primary" })
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual([keyIdOf(yield* a.issue), keyIdOf(yield* b.issue)], [2, 2])
      Object.assign(states, { 1: "retired" })
      yield* TestClock.adjust("5 seconds")
      yield* a.issue
      for (const tags of [a, b]) assert.strictEqual(yield* tags.judge(begun), "ours")
      const restarted = yield* replica(entry(2, two))
      const unheardOf = yield* (yield* tagsOf(textOf(entry(3, randomBytes(32))))).issue
      // Before it has heard of the keys that there ever were, it cannot say.
      for (const state of [begun, unheardOf]) assert.strictEqual(yield* restarted.judge(state), "undecided")
      yield* restarted.issue
      assert.strictEqual(yield* restarted.judge(begun), "undecided")
      assert.strictEqual(yield* restarted.judge(unheardOf), "foreign")
    }).pipe(Effect.scoped))
})
