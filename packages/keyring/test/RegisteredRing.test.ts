import { assert, describe, it } from "@effect/vitest"
import { Cipher } from "@valetkey/domain/Cipher"
import { HeldKeys } from "@valetkey/domain/HeldKeys"
import { KeyRegister, type RegisteredKey } from "@valetkey/domain/KeyRegister"
import { keyIdOf, type SealContext } from "@valetkey/domain/Sealed"
import { StoreError } from "@valetkey/domain/StoreError"
import { TenantId } from "@valetkey/domain/Tenant"
import { Context, DateTime, Effect, Fiber, Layer, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { randomBytes } from "node:crypto"
import * as KeyRingCipher from "../src/KeyRingCipher.ts"
import * as KeySource from "../src/KeySource.ts"

const entry = (id: number) => `${id}:${randomBytes(32).toString("base64")}`
const [one, two, three] = [entry(1), entry(2), entry(3)]

const context: SealContext = {
  table: "connections",
  tenant: TenantId.make("acme"),
  row: "user-1/github",
  field: "access_token",
  generation: 7
}
const token = Redacted.make("gho_token")

/** A register that several replicas share, which can go away. */
const makeRegister = () => {
  const keys = new Map<number, RegisteredKey>()
  const state = { down: undefined as Effect.Effect<never, StoreError> | undefined, reads: 0 }
  const guarded = <A>(step: () => A) => Effect.suspend(() => state.down ?? Effect.sync(step))
  const set = (id: number, next: RegisteredKey["state"]) => keys.set(id, { ...keys.get(id)!, state: next })
  const register = KeyRegister.of({
    list: guarded(() => {
      state.reads++
      return [...keys.values()]
    }),
    enroll: (held) =>
      guarded(() => {
        for (const key of held) {
          if (!keys.has(key.id)) keys.set(key.id, { ...key, state: "active", firstSeenAt: DateTime.makeUnsafe(0) })
        }
        if (![...keys.values()].some((key) => key.state === "primary")) set(held[0]!.id, "primary")
      }),
    promote: (id) =>
      guarded(() => {
        for (const key of keys.values()) if (key.state === "primary") set(key.id, "active")
        set(id, "primary")
        return true
      }),
    retire: (id) =>
      guarded(() => {
        set(id, "retired")
        return true
      })
  })
  const replica = (text: string, source = KeySource.fromText(Redacted.make(text))) =>
    Effect.map(
      Layer.build(
        KeyRingCipher.layerRegistered({ instanceId: "inst", source }).pipe(
          Layer.provide(Layer.succeed(KeyRegister, register))
        )
      ),
      (services) => ({ cipher: Context.get(services, Cipher), held: Context.get(services, HeldKeys) })
    )
  return { register, replica, state, keys }
}

const outage = Effect.fail(new StoreError({ code: "store_unavailable", operation: "list" }))
const opened = (cipher: Cipher["Service"], sealed: Parameters<Cipher["Service"]["open"]>[1]) =>
  Effect.map(cipher.open(context, sealed), Redacted.value)

describe("KeyRingCipher.layerRegistered", () => {
  it.effect("CRY-15 S3.15 replicas agree on the key that seals, whatever order they were given", () =>
    Effect.gen(function*() {
      const { register, replica } = makeRegister()
      const a = yield* replica(`${one},${two}`)
      assert.strictEqual(keyIdOf(yield* a.cipher.seal(context, token)), 1)
      const b = yield* replica(`${two},${one}`)
      const old = yield* b.cipher.seal(context, token)
      assert.strictEqual(keyIdOf(old), 1)
      yield* register.promote(2)
      yield* TestClock.adjust("1 second")
      for (const { cipher } of [a, b]) {
        assert.strictEqual(keyIdOf(yield* cipher.seal(context, token)), 2)
        assert.strictEqual(yield* opened(cipher, old), "gho_token")
      }
    }))

  it.effect("CRY-05 refuses everything while a key is another one than the installation knows by its id", () =>
    Effect.gen(function*() {
      const { keys, replica } = makeRegister()
      const right = yield* replica(one)
      const sealed = yield* right.cipher.seal(context, token)
      const wrong = yield* replica(`${entry(1)},${three}`)
      for (
        const attempt of [wrong.cipher.seal(context, token), wrong.cipher.open(context, sealed), wrong.held.verify]
      ) {
        assert.strictEqual((yield* Effect.flip(attempt)).code, "encryption_key_mismatch")
      }
      assert.deepStrictEqual([...keys.keys()], [1])
      assert.strictEqual(yield* opened(right.cipher, sealed), "gho_token")
      yield* right.held.verify
    }))

  it.effect("CRY-16 a replica without the promoted key serves what it can, keeps what it redeems and is not ready", () =>
    Effect.gen(function*() {
      const { register, replica } = makeRegister()
      const behind = yield* replica(one)
      const ahead = yield* replica(`${one},${two}`)
      const old = yield* behind.cipher.seal(context, token)
      yield* ahead.cipher.seal(context, token)
      yield* register.promote(2)
      yield* TestClock.adjust("5 seconds")
      const fresh = yield* ahead.cipher.seal(context, token)
      assert.strictEqual((yield* Effect.flip(behind.cipher.open(context, fresh))).code, "encryption_key_unavailable")
      assert.strictEqual((yield* Effect.flip(behind.held.verify)).code, "encryption_key_unavailable")
      assert.strictEqual(yield* opened(behind.cipher, old), "gho_token")
      assert.strictEqual(yield* opened(ahead.cipher, yield* behind.cipher.seal(context, token)), "gho_token")
    }))

  it.effect("CRY-11 a retired key opens nothing although it is still configured", () =>
    Effect.gen(function*() {
      const { register, replica } = makeRegister()
      const { cipher } = yield* replica(`${one},${two}`)
      const old = yield* cipher.seal(context, token)
      yield* register.promote(2)
      yield* register.retire(1, "0 seconds" as never)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Effect.flip(cipher.open(context, old))).code, "encryption_key_unavailable")
      assert.strictEqual(keyIdOf(yield* cipher.seal(context, token)), 2)
    }))

  it.effect("goes on with what it knew while the register is away or does not answer", () =>
    Effect.gen(function*() {
      const { replica, state } = makeRegister()
      const { cipher } = yield* replica(one)
      const sealed = yield* cipher.seal(context, token)
      state.down = outage
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* opened(cipher, yield* cipher.seal(context, token)), "gho_token")
      state.down = Effect.never
      yield* TestClock.adjust("1 hour")
      const sealing = yield* Effect.forkChild(cipher.seal(context, token))
      const opening = yield* Effect.forkChild(opened(cipher, sealed))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(keyIdOf(yield* Fiber.join(sealing)), 1)
      assert.strictEqual(yield* Fiber.join(opening), "gho_token")
    }))

  it.effect("seals nothing before it has asked the register once", () =>
    Effect.gen(function*() {
      const { replica, state } = makeRegister()
      const { cipher } = yield* replica(one)
      state.down = outage
      assert.strictEqual((yield* Effect.flip(cipher.seal(context, token))).code, "encryption_key_unavailable")
      state.down = undefined
      assert.strictEqual(keyIdOf(yield* cipher.seal(context, token)), 1)
    }))

  it.effect("asks the register once a second at most, however much is sealed and opened", () =>
    Effect.gen(function*() {
      const { replica, state } = makeRegister()
      const { cipher } = yield* replica(one)
      const sealed = yield* cipher.seal(context, token)
      const before = state.reads
      for (let n = 0; n < 100; n++) yield* Effect.andThen(cipher.seal(context, token), cipher.open(context, sealed))
      assert.strictEqual(state.reads, before)
      yield* TestClock.adjust("1 second")
      yield* Effect.all(Array.from({ length: 50 }, () => cipher.seal(context, token)), { concurrency: "unbounded" })
      assert.strictEqual(state.reads, before + 1)
    }))

  it.effect("S3.20 without a key it says so and enters nothing", () =>
    Effect.gen(function*() {
      const { keys, replica } = makeRegister()
      const { cipher, held } = yield* replica("", KeySource.fromText(undefined))
      for (const attempt of [cipher.seal(context, token), held.verify, held.refresh]) {
        assert.strictEqual((yield* Effect.flip(attempt)).code, "encryption_key_missing")
      }
      assert.strictEqual((yield* Effect.flip(held.add)).code, "keys_managed_elsewhere")
      assert.strictEqual(keys.size, 0)
    }))
})
