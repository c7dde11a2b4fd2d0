import { assert, describe, it } from "@effect/vitest"
import { Cipher, type CipherError } from "@valetkey/domain/Cipher"
import { KeyRegister } from "@valetkey/domain/KeyRegister"
import { isUnderTenantKey, keyIdOf, type SealContext, Sealed } from "@valetkey/domain/Sealed"
import * as SignalHub from "@valetkey/domain/SignalHub"
import { Signals, tenantTopic } from "@valetkey/domain/Signals"
import { StoreError } from "@valetkey/domain/StoreError"
import { TenantId } from "@valetkey/domain/Tenant"
import { sealContext, type TenantKey, TenantKeyStore } from "@valetkey/domain/TenantKeyStore"
import { Context, DateTime, Effect, Fiber, Latch, Layer, Option, Redacted, Result } from "effect"
import { TestClock } from "effect/testing"
import { createSecretKey, randomBytes } from "node:crypto"
import { readFileSync } from "node:fs"
import * as Envelope from "../src/Envelope.ts"
import * as DataKeys from "../src/internal/dataKeys.ts"
import { format2, sealWithUnsafe } from "../src/internal/envelope.ts"
import * as KeyRingCipher from "../src/KeyRingCipher.ts"
import * as KeySource from "../src/KeySource.ts"
import { decrypt } from "./Independent.ts"

interface Vectors {
  readonly valid: ReadonlyArray<{
    readonly name: string
    readonly rootKeyId: number
    readonly rootKey: string
    readonly wrapped: string
    readonly dataKeyId: number
    readonly dataKey: string
    readonly salt: string
    readonly nonce: string
    readonly context: Envelope.EnvelopeContext
    readonly plaintext: string
    readonly envelope: string
  }>
  readonly refused: ReadonlyArray<{
    readonly name: string
    readonly failure: Envelope.OpenFailure
    readonly keys: Readonly<Record<string, string>>
    readonly context: Envelope.EnvelopeContext
    readonly envelope: string
  }>
}

const vectors: Vectors = JSON.parse(readFileSync(new URL("./vectors/envelope-v2.json", import.meta.url), "utf8"))
const bytesOf = (hex: string): Buffer => Buffer.from(hex, "hex")
const keyOf = (hex: string, id: number): Envelope.RootKey => ({ id, secret: createSecretKey(bytesOf(hex)) })

describe("vectors of format 2", () => {
  for (const one of vectors.valid) {
    it(`LIFE-06 CRY-21 unwraps, seals and opens as published: ${one.name}`, async () => {
      const { context, dataKeyId, envelope, nonce, plaintext, rootKey, rootKeyId, salt, wrapped } = one
      const wrapping = {
        instance: context.instance,
        table: "tenant_keys",
        tenant: context.tenant,
        row: String(dataKeyId),
        field: "data_key",
        generation: 0
      }
      const text = await decrypt({ [rootKeyId]: bytesOf(rootKey) }, wrapping, bytesOf(wrapped))
      const dataKey = Buffer.from(Buffer.from(text).toString(), "base64").toString("hex")
      assert.strictEqual(dataKey, one.dataKey)

      const key = keyOf(dataKey, dataKeyId)
      const given = { salt: bytesOf(salt), nonce: bytesOf(nonce) }
      const sealed = sealWithUnsafe(key, context, bytesOf(plaintext), given, format2)
      assert.strictEqual(Buffer.from(sealed).toString("hex"), envelope)
      assert.strictEqual(Envelope.keyIdOf(sealed, 2), dataKeyId)
      assert.strictEqual(Envelope.keyIdOf(sealed), undefined)
      const opened = Envelope.open((id) => id === dataKeyId ? key : undefined, context, sealed, undefined, 2)
      assert.strictEqual(Result.getOrThrow(opened).toString("hex"), plaintext)
      const independent = await decrypt({ [dataKeyId]: bytesOf(dataKey) }, context, bytesOf(envelope), 2)
      assert.strictEqual(Buffer.from(independent).toString("hex"), plaintext)
    })
  }

  for (const { context, envelope, failure, keys, name } of vectors.refused) {
    it(`I13 CRY-21 refuses as published: ${name}`, async () => {
      const ring = (id: number) => keys[id] === undefined ? undefined : keyOf(keys[id], id)
      const opened = Envelope.open(ring, context, bytesOf(envelope), undefined, 2)
      assert.deepStrictEqual(opened, Result.fail(failure))
      const dataKeys = Object.fromEntries(Object.entries(keys).map(([id, key]) => [id, bytesOf(key)]))
      const independent = decrypt(dataKeys, context, bytesOf(envelope), 2)
      assert.strictEqual(await independent.then(() => "opened", ({ message }: Error) => message), failure)
    })
  }

  it("CRY-21 the published format names every parameter that the vectors depend on", () => {
    const format = readFileSync(new URL("../FORMAT.md", import.meta.url), "utf8")
    for (const part of ["VK02", "valetkey/envelope/v2\\0", "tenant_keys", "data_key", "envelope-v2.json"]) {
      assert.include(format, part)
    }
  })
})

const [acme, other] = [TenantId.make("acme"), TenantId.make("other")]
const contextOf = (tenant: TenantId): SealContext => ({
  table: "connections",
  tenant,
  row: "user-1/github/e1",
  field: "access_token",
  generation: 7
})
const context = contextOf(acme)
const token = Redacted.make("gho_token")

/** What replicas share: a register with one key, the data keys, and signals. */
const makeShared = () => {
  const rootKey = randomBytes(32)
  const source = KeySource.fromText(Redacted.make(`1:${rootKey.toString("base64")}`))
  const hub = SignalHub.make()
  const keys = new Map<TenantId, TenantKey>()
  const state = { asked: 0, reads: 0, down: false, answers: Latch.makeUnsafe(true) }
  const outage = new StoreError({ code: "store_unavailable", operation: "find" })
  const guarded = <A>(step: () => A) => Effect.suspend(() => state.down ? Effect.fail(outage) : Effect.sync(step))
  const store = TenantKeyStore.of({
    find: (tenant) =>
      Effect.suspend(() => {
        state.asked++
        return state.answers.whenOpen(guarded(() => {
          state.reads++
          return Option.fromUndefinedOr(keys.get(tenant))
        }))
      }),
    create: (tenant, key) =>
      guarded(() => {
        if (!keys.has(tenant)) keys.set(tenant, key)
        return keys.get(tenant)!
      })
  })
  const signals = Signals.of({
    notify: (topic) => Effect.sync(() => hub.dispatch(topic)),
    wake: (topic) => Effect.sync(() => hub.dispatch(topic)),
    subscribe: hub.subscribe,
    observe: hub.observe,
    listen: hub.listen
  })
  const shared = Layer.mergeAll(
    Layer.succeed(TenantKeyStore, store),
    Layer.mock(KeyRegister)({
      list: Effect.succeed([{ id: 1, checkValue: checkValueOf(source), state: "primary", firstSeenAt: epoch }])
    }),
    Layer.succeed(Signals, signals)
  )
  const replica = (sealing: boolean) =>
    Layer.build(
      KeyRingCipher.layerTenantKeys({ instanceId: "inst", source, sealing }).pipe(Layer.provide(shared))
    ).pipe(Effect.map((services) => Context.get(services, Cipher)))
  return { hub, keys, replica, rootKey, signals, source, state, store }
}

const epoch = DateTime.makeUnsafe(0)
const checkValueOf = (source: KeySource.KeySource) => Effect.runSync(source.ring).primary.checkValue

const opened = (cipher: Cipher["Service"], sealed: Sealed, where = context) =>
  Effect.match(cipher.open(where, sealed), {
    onFailure: ({ code }: CipherError): string => code,
    onSuccess: Redacted.value
  })

describe("KeyRingCipher.layerTenantKeys", () => {
  it.effect("LIFE-06 old and new replicas read what each other wrote, forth and back", () =>
    Effect.gen(function*() {
      const { keys, replica } = makeShared()
      const [off, on] = [yield* replica(false), yield* replica(true)]
      const old = yield* off.seal(context, token)
      assert.deepStrictEqual([isUnderTenantKey(old), keyIdOf(old), keys.size], [false, 1, 0])
      const fresh = yield* on.seal(context, token)
      assert.deepStrictEqual([isUnderTenantKey(fresh), keyIdOf(fresh), keys.size], [true, undefined, 1])
      const back = yield* (yield* replica(false)).seal(context, token)
      assert.isFalse(isUnderTenantKey(back))
      for (const cipher of [off, on, yield* replica(false), yield* replica(true)]) {
        for (const sealed of [old, fresh, back]) assert.strictEqual(yield* opened(cipher, sealed), "gho_token")
      }
    }).pipe(Effect.scoped))

  it.effect("LIFE-06 the data key is sealed under the root key, for its tenant and its id", () =>
    Effect.gen(function*() {
      const { keys, replica, rootKey } = makeShared()
      const cipher = yield* replica(true)
      const sealed = yield* cipher.seal(context, token)
      const { dataKey, id } = keys.get(acme)!
      const wrapping = { ...sealContext(acme, id), instance: "inst" }
      const text = yield* Effect.promise(() => decrypt({ 1: rootKey }, wrapping, dataKey))
      const bytes = Buffer.from(Buffer.from(text).toString(), "base64")
      const plain = yield* Effect.promise(() => decrypt({ [id]: bytes }, { ...context, instance: "inst" }, sealed, 2))
      assert.strictEqual(Buffer.from(plain).toString(), "gho_token")

      yield* cipher.seal(contextOf(other), token)
      const [mine, theirs] = [keys.get(acme)!, keys.get(other)!]
      for (const moved of [{ ...mine, dataKey: theirs.dataKey }, { ...mine, id: theirs.id }]) {
        keys.set(acme, moved)
        assert.strictEqual(yield* opened(yield* replica(true), sealed), "integrity_error")
      }
    }).pipe(Effect.scoped))

  it.effect("I13 CRY-06 CRY-07 CRY-08 refuses every bit flip, truncation and swap", () =>
    Effect.gen(function*() {
      const { replica } = makeShared()
      const cipher = yield* replica(true)
      const sealed = yield* cipher.seal(context, token)
      for (let bit = 0; bit < sealed.length * 8; bit++) {
        const flipped = Uint8Array.from(sealed)
        flipped[bit >> 3]! ^= 1 << (bit & 7)
        assert.strictEqual(yield* opened(cipher, Sealed.make(flipped)), "integrity_error", `bit ${bit}`)
      }
      for (let length = 0; length < sealed.length; length++) {
        assert.strictEqual(yield* opened(cipher, Sealed.make(sealed.slice(0, length))), "integrity_error", `${length}`)
      }
      const theirs = yield* cipher.seal(contextOf(other), token)
      const root = yield* (yield* replica(false)).seal(context, token)
      const relabelled = (envelope: Sealed, version: string) =>
        Sealed.make(Uint8Array.from(envelope).fill(version.charCodeAt(0), 3, 4))
      for (
        const [envelope, where] of [
          [sealed, contextOf(other)],
          [theirs, context],
          [sealed, { ...context, row: "user-2/github/e1" }],
          [sealed, { ...context, field: "refresh_token" }],
          [sealed, { ...context, table: "spool" }],
          [sealed, { ...context, table: "tenant_keys" }],
          [sealed, { ...context, generation: 6 }],
          [relabelled(sealed, "1"), context],
          [relabelled(root, "2"), context]
        ] as const
      ) assert.strictEqual(yield* opened(cipher, envelope, where), "integrity_error")
      assert.strictEqual(yield* opened(cipher, sealed), "gho_token")
    }).pipe(Effect.scoped))

  it.effect("LIFE-06 replicas that seal for the first time at once make one key", () =>
    Effect.gen(function*() {
      const { keys, replica } = makeShared()
      const replicas = yield* Effect.all(Array.from({ length: 4 }, () => replica(true)))
      const sealed = yield* Effect.all(
        replicas.flatMap((cipher) => [cipher.seal(context, token), cipher.seal(context, token)]),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(keys.size, 1)
      for (const cipher of replicas) {
        for (const one of sealed) assert.strictEqual(yield* opened(cipher, one), "gho_token")
      }
    }).pipe(Effect.scoped))

  it.effect("LIFE-02 a destroyed key opens nothing as soon as the signal arrives", () =>
    Effect.gen(function*() {
      const { hub, keys, replica, state } = makeShared()
      const cipher = yield* replica(true)
      const sealed = yield* cipher.seal(context, token)
      const theirs = yield* cipher.seal(contextOf(other), token)

      keys.delete(acme)
      state.down = true
      hub.dispatch(tenantTopic(other))
      yield* Effect.yieldNow
      assert.strictEqual(yield* opened(cipher, sealed), "gho_token")
      state.down = false
      hub.dispatch(tenantTopic(acme))
      yield* Effect.yieldNow
      assert.strictEqual(yield* opened(cipher, sealed), "integrity_error")
      assert.strictEqual(yield* opened(cipher, theirs, contextOf(other)), "gho_token")
    }).pipe(Effect.scoped))

  it.effect("LIFE-02 asks the store once a second, and uses no key that it does not have any more", () =>
    Effect.gen(function*() {
      const { keys, replica, state } = makeShared()
      const cipher = yield* replica(true)
      const sealed = yield* cipher.seal(context, token)
      state.reads = 0
      for (let n = 0; n < 50; n++) {
        assert.strictEqual(yield* opened(cipher, sealed), "gho_token")
        yield* cipher.seal(context, token)
      }
      assert.strictEqual(state.reads, 0)
      keys.delete(acme)
      yield* TestClock.adjust("999 millis")
      assert.strictEqual(yield* opened(cipher, sealed), "gho_token")
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* opened(cipher, sealed), "integrity_error")
      assert.strictEqual(state.reads, 1)
    }).pipe(Effect.scoped))

  it.effect("I3 seals on with the key that it holds while the store is away, and makes none", () =>
    Effect.gen(function*() {
      const { keys, replica, state } = makeShared()
      const cipher = yield* replica(true)
      yield* cipher.seal(context, token)
      state.down = true
      yield* TestClock.adjust("1 minute")
      const sealed = yield* cipher.seal(context, token)
      assert.isTrue(isUnderTenantKey(sealed))
      assert.strictEqual(yield* opened(cipher, sealed), "gho_token")
      const refused = yield* Effect.flip(cipher.seal(contextOf(other), token))
      assert.strictEqual(refused.code, "encryption_key_unavailable")
      assert.strictEqual(keys.size, 1)
    }).pipe(Effect.scoped))

  it.effect("I3 waits a second for a store that does not answer, and then goes on at once with the key that it holds", () =>
    Effect.gen(function*() {
      const { replica, state } = makeShared()
      const cipher = yield* replica(true)
      yield* cipher.seal(context, token)
      yield* TestClock.adjust("2 seconds")
      state.asked = 0
      state.answers.closeUnsafe()
      const sealing = yield* Effect.forkChild(Effect.uninterruptible(cipher.seal(context, token)))
      yield* TestClock.adjust("999 millis")
      assert.isUndefined(sealing.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.isTrue(isUnderTenantKey(yield* Fiber.join(sealing)))
      yield* cipher.seal(context, token)
      yield* TestClock.adjust("1 minute")
      yield* cipher.seal(context, token)
      assert.strictEqual(state.asked, 1)
    }).pipe(Effect.scoped))

  it.effect("I3 asks a store that failed no more than once a second", () =>
    Effect.gen(function*() {
      const { replica, state } = makeShared()
      const cipher = yield* replica(true)
      yield* cipher.seal(context, token)
      yield* TestClock.adjust("2 seconds")
      state.asked = 0
      state.down = true
      for (let n = 0; n < 10; n++) yield* cipher.seal(context, token)
      assert.strictEqual(state.asked, 1)
      yield* TestClock.adjust("1 second")
      yield* cipher.seal(context, token)
      assert.strictEqual(state.asked, 2)
    }).pipe(Effect.scoped))

  it.effect("LIFE-06 asks once for all who need the same key, also when the first of them gives up", () =>
    Effect.gen(function*() {
      const { replica, state } = makeShared()
      const sealed = yield* (yield* replica(true)).seal(context, token)
      const cipher = yield* replica(true)
      state.asked = 0
      state.answers.closeUnsafe()
      const opening = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(opened(cipher, sealed)))
      yield* Effect.yieldNow
      yield* Fiber.interrupt(opening[0]!)
      yield* state.answers.open
      for (const one of opening.slice(1)) assert.strictEqual(yield* Fiber.join(one), "gho_token")
      assert.strictEqual(state.asked, 1)
    }).pipe(Effect.scoped))

  it.effect("LIFE-02 a key that is dropped, or that nobody uses for minutes, leaves nothing behind that was derived from it", () =>
    Effect.gen(function*() {
      const { hub, replica, signals, source, state, store } = makeShared()
      const root = yield* replica(false)
      const keys = yield* DataKeys.make({ root, store, signals, derivedKeys: undefined })
      const ring = yield* source.ring
      const use = Effect.gen(function*() {
        const key = yield* keys.sealing(ring, acme)
        const where = { ...context, instance: "inst" }
        const sealed = Envelope.seal(key, where, Buffer.from("gho_token"), 2)
        assert.isTrue(Result.isSuccess(Envelope.open(() => key, where, sealed, keys.derived(), 2)))
        return key
      })
      yield* use
      assert.strictEqual(keys.derived().size, 1)
      hub.dispatch(tenantTopic(acme))
      yield* Effect.yieldNow
      assert.strictEqual(keys.derived().size, 0)

      yield* use
      for (let n = 0; n < 6; n++) {
        yield* TestClock.adjust("1 minute")
        yield* use
      }
      assert.strictEqual(keys.derived().size, 7)
      yield* TestClock.adjust("6 minutes")
      assert.strictEqual(keys.derived().size, 0)
      state.down = true
      assert.strictEqual((yield* Effect.flip(keys.sealing(ring, acme))).code, "encryption_key_unavailable")
    }).pipe(Effect.scoped))
})
