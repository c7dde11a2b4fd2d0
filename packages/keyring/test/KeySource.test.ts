import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Queue, Redacted, Result } from "effect"
import { TestClock } from "effect/testing"
import { randomBytes } from "node:crypto"
import {
  chmodSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as KeyRing from "../src/KeyRing.ts"
import { type KeyService, KeyServiceError } from "../src/KeyService.ts"
import * as KeySource from "../src/KeySource.ts"

const entry = (id: number) => `${id}:${randomBytes(32).toString("base64")}`
const ringOf = (...ids: ReadonlyArray<number>) =>
  Result.getOrThrow(KeyRing.parse(Redacted.make(ids.map(entry).join(","))))

/** A service whose wrapping is a name: `vault:v1:` and the base64 of the key, readable for the test alone. */
const serviceOf = () => {
  const state = { problem: undefined as KeyServiceError["problem"] | undefined, calls: 0 }
  const given = new Array<Buffer>()
  const service: KeyService = {
    unwrap: (wrapped) =>
      Effect.suspend(() => {
        state.calls++
        if (state.problem !== undefined) return Effect.fail(new KeyServiceError({ problem: state.problem }))
        const bytes = Buffer.from(wrapped.slice("vault:v1:".length), "base64")
        given.push(bytes)
        return Effect.succeed(bytes)
      }),
    create: Effect.sync(() => `vault:v1:${randomBytes(32).toString("base64")}`)
  }
  return { service, state, given }
}

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

  it.effect("keeps the very ring when it reads the same keys in the same order again, and no other", () =>
    Effect.gen(function*() {
      const [one, two, another] = [entry(1), entry(2), entry(2)]
      const texts = [[one, two], [one, two], [two, one], [two], [another]]
      const source = KeySource.make(
        Effect.suspend(() => Effect.fromResult(KeyRing.parse(Redacted.make((texts.shift() ?? []).join(",")))))
      )
      const rings = [yield* source.ring]
      for (let reads = 1; reads < 5; reads++) {
        yield* TestClock.adjust("1 second")
        rings.push(yield* source.reload)
        assert.strictEqual(yield* source.ring, rings.at(-1))
      }
      assert.strictEqual(rings[1], rings[0])
      assert.deepStrictEqual(rings.map(({ primary }) => primary.id), [1, 1, 2, 2, 2])
      assert.strictEqual(new Set(rings).size, 4)
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

  it.effect("CRY-20 unwraps wrapped keys on first use, to the ring that the keys themselves would give, and wipes them", () =>
    Effect.gen(function*() {
      const { given, service, state } = serviceOf()
      const [one, two] = [randomBytes(32).toString("base64"), randomBytes(32).toString("base64")]
      const source = KeySource.fromWrapped({ keys: Redacted.make(`7:vault:v1:${one}, 3:vault:v1:${two}\n`), service })
      assert.strictEqual(state.calls, 0)
      const ring = yield* source.ring
      const plain = Result.getOrThrow(KeyRing.parse(Redacted.make(`7:${one},3:${two}`)))
      assert.deepStrictEqual(
        [...ring.keys.values()].map(({ checkValue, id, state }) => [id, checkValue, state]),
        [...plain.keys.values()].map(({ checkValue, id, state }) => [id, checkValue, state])
      )
      assert.strictEqual(ring.primary.secret.export().toString("base64"), one)
      assert.strictEqual(given.length, 2)
      for (const bytes of given) assert.isTrue(bytes.every((byte) => byte === 0))
    }))

  it.effect("I14 needs the service no more once the keys are unwrapped, whoever asks for them anew", () =>
    Effect.gen(function*() {
      const { service, state } = serviceOf()
      const source = KeySource.fromWrapped({ keys: Redacted.make(`1:vault:v1:${entry(1).slice(2)}`), service })
      const ring = yield* source.ring
      state.problem = "unreachable"
      yield* TestClock.adjust("1 day")
      assert.strictEqual(yield* source.reload, ring)
      assert.strictEqual(yield* source.ring, ring)
      assert.strictEqual(state.calls, 1)
    }))

  it.effect("I14 says why the service gives no key, and unwraps within a second of its return", () =>
    Effect.gen(function*() {
      const { service, state } = serviceOf()
      const source = KeySource.fromWrapped({ keys: Redacted.make(`1:vault:v1:${entry(1).slice(2)}`), service })
      for (const problem of ["unreachable", "sealed", "denied"] as const) {
        state.problem = problem
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* Effect.flip(source.ring)).code, `key_service_${problem}`)
      }
      state.problem = undefined
      yield* TestClock.adjust("999 millis")
      yield* Effect.flip(source.ring)
      assert.strictEqual(state.calls, 3)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* source.ring).primary.id, 1)
    }))

  it.effect("gives all keys or none, and none that is not a random key of 32 bytes", () =>
    Effect.gen(function*() {
      const { given, service } = serviceOf()
      const good = entry(1).slice(2)
      const lies = [
        randomBytes(31).toString("base64"),
        randomBytes(33).toString("base64"),
        Buffer.alloc(32).toString("base64")
      ]
      for (const lie of lies) {
        const keys = Redacted.make(`1:vault:v1:${good},2:vault:v1:${lie}`)
        const error = yield* Effect.flip(KeySource.fromWrapped({ keys, service }).ring)
        assert.strictEqual(error.code, "key_service_not_a_key")
        assert.notInclude(error.message + JSON.stringify(error), lie)
      }
      for (const bytes of given) assert.isTrue(bytes.every((byte) => byte === 0))
    }))

  it.effect("CRY-04 says what is wrong with VALETKEY_KEYS_WRAPPED without asking the service", () =>
    Effect.gen(function*() {
      const { service, state } = serviceOf()
      const good = `vault:v1:${entry(1).slice(2)}`
      const cases: ReadonlyArray<readonly [string, string]> = [
        ["", "encryption_key_missing"],
        [good, "id"],
        [`1:${good},1:${good}`, "duplicate_id"],
        [`1:${entry(1).slice(2)}`, "unwrapped"],
        ["1:vault:v0:QUFB", "unwrapped"],
        ["1:vault:v1:", "unwrapped"],
        ["1:vault:v1:CANARY!", "unwrapped"],
        ["1:kms:v1:QUFB", "unwrapped"]
      ]
      for (const [text, expected] of cases) {
        const error = yield* Effect.flip(KeySource.fromWrapped({ keys: Redacted.make(text), service }).ring)
        assert.strictEqual(error._tag === "KeyRingError" ? error.problem : error.code, expected, text)
        assert.notInclude(error.message, "CANARY")
        if (expected === "unwrapped") assert.match(error.message, /^VALETKEY_KEYS_WRAPPED entry 1: /)
      }
      assert.strictEqual(state.calls, 0)
    }))

  it.effect("CRY-15 proposes a key of a new id, holds it nowhere, and opens with it once it is configured", () =>
    Effect.gen(function*() {
      const { service } = serviceOf()
      const keys = `1:vault:v1:${entry(1).slice(2)}`
      const source = KeySource.fromWrapped({ keys: Redacted.make(keys), service })
      const { entry: proposed, id } = yield* source.propose!
      assert.deepStrictEqual([...(yield* source.reload).keys.keys()], [1])
      assert.isUndefined(source.add)
      const ring = yield* KeySource.fromWrapped({ keys: Redacted.make(`${keys},${proposed}`), service }).ring
      assert.deepStrictEqual([...ring.keys.keys()], [1, id])
      assert.notStrictEqual((yield* source.propose!).id, id)
      assert.isUndefined(KeySource.fromText(Redacted.make(entry(1))).propose)
    }))

  it.effect("asks a slow source once for all who waited, also when it fails at last", () =>
    Effect.gen(function*() {
      let reads = 0
      const source = KeySource.make(Effect.suspend(() => {
        reads++
        return Effect.andThen(Effect.sleep("3 seconds"), new KeyServiceError({ problem: "late" }))
      }))
      const fibers = yield* Effect.forEach([1, 2, 3, 4], () => Effect.forkChild(Effect.flip(source.ring)))
      yield* TestClock.adjust("3 seconds")
      for (const fiber of fibers) assert.strictEqual((yield* Fiber.join(fiber)).code, "key_service_late")
      assert.strictEqual(reads, 1)
    }))

  it.effect("takes a descriptor, which is read on first use and never again", () =>
    Effect.gen(function*() {
      const base = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "valetkey-source-"))),
        (path) => Effect.sync(() => rmSync(path, { recursive: true }))
      )
      const path = join(base, "keys")
      writeFileSync(path, `${entry(4)}\n${entry(9)}\n`)
      const descriptor = openSync(path, "r")
      const source = KeySource.fromDescriptor(descriptor)
      assert.strictEqual(fstatSync(descriptor).size, statSync(path).size)
      const ring = yield* source.ring
      assert.deepStrictEqual([...ring.keys.keys()], [4, 9])
      assert.throws(() => fstatSync(descriptor))
      yield* TestClock.adjust("1 day")
      assert.strictEqual(yield* source.reload, ring)
      writeFileSync(path, "1:CANARY")
      const broken = KeySource.fromDescriptor(openSync(path, "r"))
      for (let attempt = 0; attempt < 2; attempt++) {
        const error = yield* Effect.flip(broken.ring)
        assert.match(error.message, /^VALETKEY_KEYS_FD entry 1: /)
        assert.notInclude(error.message, "CANARY")
        yield* TestClock.adjust("1 second")
      }
    }))
})
