import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Queue, Redacted, Result } from "effect"
import { TestClock } from "effect/testing"
import { randomBytes } from "node:crypto"
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as KeyRing from "../src/KeyRing.ts"
import * as KeySource from "../src/KeySource.ts"

const entry = (id: number) => `${id}:${randomBytes(32).toString("base64")}`
const ringOf = (...ids: ReadonlyArray<number>) =>
  Result.getOrThrow(KeyRing.parse(Redacted.make(ids.map(entry).join(","))))

describe("KeySource", () => {
  it.effect("S3.23 reads nothing until it is asked, then once", () =>
    Effect.gen(function*() {
      let reads = 0
      const source = KeySource.make(Effect.sync(() => (reads++, ringOf(1))))
      assert.strictEqual(reads, 0)
      yield* Effect.all([source.ring, source.ring, source.ring], { concurrency: 3 })
      yield* TestClock.adjust("1 day")
      yield* source.ring
      assert.strictEqual(reads, 1)
    }))

  it.effect("reads once for callers that come while it is read", () =>
    Effect.gen(function*() {
      let reads = 0
      const gate = yield* Deferred.make<void>()
      const source = KeySource.make(Effect.suspend(() => {
        reads++
        return Effect.as(Deferred.await(gate), ringOf(1))
      }))
      const asked = yield* Queue.unbounded<void>()
      const ask = Effect.andThen(Queue.offer(asked, undefined), source.ring)
      const fibers = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(ask))
      yield* Queue.takeN(asked, 3)
      yield* Deferred.succeed(gate, undefined)
      yield* Effect.forEach(fibers, Fiber.join)
      assert.strictEqual(reads, 1)
    }))

  it.effect("S3.24 keeps a failure for a second, so that a fixed key needs no restart", () =>
    Effect.gen(function*() {
      let reads = 0
      const rings: Array<KeyRing.KeyRing> = []
      const source = KeySource.make(Effect.suspend(() => {
        reads++
        return rings[0] === undefined ? Effect.fail(new KeySource.KeyMissing({})) : Effect.succeed(rings[0])
      }))
      assert.strictEqual((yield* Effect.flip(source.ring)).code, "encryption_key_missing")
      rings.push(ringOf(1))
      yield* TestClock.adjust("999 millis")
      yield* Effect.flip(source.ring)
      assert.strictEqual(reads, 1)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* source.ring, rings[0])
      assert.strictEqual(reads, 2)
    }))

  it.effect("reloads at most once a second, and keeps the ring it has when that fails", () =>
    Effect.gen(function*() {
      const rings: Array<KeyRing.KeyRing> = [ringOf(1), ringOf(2, 1)]
      const source = KeySource.make(Effect.suspend(() => {
        const next = rings.shift()
        return next === undefined ? Effect.fail(new KeySource.KeyMissing({})) : Effect.succeed(next)
      }))
      assert.strictEqual((yield* source.ring).primary.id, 1)
      assert.strictEqual((yield* source.reload).primary.id, 1)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* source.reload).primary.id, 2)
      yield* TestClock.adjust("1 second")
      yield* Effect.flip(source.reload)
      assert.strictEqual((yield* source.ring).primary.id, 2)
    }))

  it.effect("CRY-04 takes VALETKEY_KEYS, and says what is wrong with it", () =>
    Effect.gen(function*() {
      const text = entry(5)
      assert.strictEqual((yield* KeySource.fromText(Redacted.make(text)).ring).primary.id, 5)
      for (const nothing of [undefined, Redacted.make(""), Redacted.make(" \n")]) {
        assert.strictEqual((yield* Effect.flip(KeySource.fromText(nothing).ring)).code, "encryption_key_missing")
      }
      const error = yield* Effect.flip(KeySource.fromText(Redacted.make("1:short")).ring)
      assert.match(error.message, /^VALETKEY_KEYS entry 1: /)
    }))

  it.effect("takes a key file, made on first use only if asked", () =>
    Effect.gen(function*() {
      const base = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "valetkey-source-"))),
        (path) => Effect.sync(() => rmSync(path, { recursive: true }))
      )
      const path = join(base, "keys")
      const absent = yield* Effect.flip(KeySource.fromFile({ path, create: false }).ring)
      assert.strictEqual(absent.code, "encryption_key_missing")
      const made = yield* KeySource.fromFile({ path, create: true }).ring
      const read = yield* KeySource.fromFile({ path, create: false }).ring
      assert.strictEqual(read.primary.checkValue, made.primary.checkValue)
      writeFileSync(path, "1:CANARY")
      const broken = yield* Effect.flip(KeySource.fromFile({ path, create: true }).ring)
      assert.include(broken.message, path)
      assert.notInclude(broken.message, "CANARY")
    }))

  it.effect("CRY-15 adds a key to its file as the last line, whole and private, and reads it at once", () =>
    Effect.gen(function*() {
      const base = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "valetkey-source-"))),
        (path) => Effect.sync(() => rmSync(path, { recursive: true }))
      )
      const path = join(base, "keys")
      const source = KeySource.fromFile({ path, create: true, append: true })
      const before = yield* source.ring
      const rings = yield* Effect.all(Array.from({ length: 3 }, () => source.add!), { concurrency: "unbounded" })
      const after = yield* source.ring
      assert.strictEqual(after, rings.at(-1))
      assert.strictEqual(after.keys.size, 4)
      assert.strictEqual(after.primary.checkValue, before.primary.checkValue)
      assert.strictEqual(statSync(path).mode & 0o777, 0o600)
      assert.deepStrictEqual(readdirSync(base), ["keys"])
      chmodSync(path, 0o644)
      assert.strictEqual((yield* Effect.flip(source.add!)).code, "invalid_key_file")
      chmodSync(path, 0o600)
      writeFileSync(path, "1:CANARY")
      yield* Effect.flip(source.add!)
      assert.strictEqual(readFileSync(path, "utf8"), "1:CANARY")
      assert.isUndefined(KeySource.fromText(Redacted.make(entry(1))).add)
      assert.isUndefined(KeySource.fromFile({ path, create: false }).add)
    }))
})
