import { assert, describe, it } from "@effect/vitest"
import { AuditTrail } from "@valetkey/domain/AuditTrail"
import { Cipher, CipherError } from "@valetkey/domain/Cipher"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { Spool } from "@valetkey/domain/Spool"
import { StoreError } from "@valetkey/domain/StoreError"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { Deferred, Effect, Fiber, Latch, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { expired, inTime, redemptions } from "./Expired.ts"
import { layer, refuse, Vault } from "./World.ts"

const outage = Effect.fail(new StoreError({ code: "store_unavailable", operation: "test" }))

describe("a provider", () => {
  it.effect("I7 S4.59 that never answers is given up at the deadline of the request, and asked again as the policy says", () =>
    Effect.gen(function*() {
      const { connection, provider, tokens, key } = yield* expired()
      let asked = 0
      provider.refresh = (issue) => asked++ === 0 ? Effect.never : issue
      const token = yield* inTime(tokens.get(key), "32 seconds")
      assert.strictEqual(Redacted.value(token.accessToken), provider.issued[1])
      assert.strictEqual((yield* connection).generation, 2)
    }).pipe(Effect.provide(layer)))

  it.effect("TOK-03 whose tokens are over at once is asked once in thirty seconds", () =>
    Effect.gen(function*() {
      const { provider, value } = yield* expired()
      provider.lifetime = 0
      for (let call = 0; call < 10; call++) assert.strictEqual(yield* value, provider.issued[1])
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual(yield* value, provider.issued[2])
      assert.deepStrictEqual(redemptions(provider), [1, 1])
    }).pipe(Effect.provide(layer)))

  it.effect("TOK-18 that refuses the client is left alone for a minute", () =>
    Effect.gen(function*() {
      const { connection, provider, value } = yield* expired()
      provider.refresh = () => refuse({ _tag: "Configuration", error: "invalid_client" })
      for (let call = 0; call < 10; call++) yield* Effect.flip(value)
      assert.deepStrictEqual(redemptions(provider), [1])
      assert.strictEqual((yield* connection).status._tag, "active")
    }).pipe(Effect.provide(layer)))

  it.effect("I1 whose refusal is known is not asked again by anybody, although the log is not written yet", () =>
    Effect.gen(function*() {
      const { connection, provider, value } = yield* expired()
      const written = yield* Latch.make()
      Object.assign(yield* AuditTrail, { record: () => written.await })
      provider.refresh = () => refuse({ _tag: "Terminal", error: "invalid_grant" })
      const caller = yield* Effect.forkChild(Effect.flip(value), { startImmediately: true })
      yield* TestClock.adjust("1 millis")
      const { status } = yield* connection
      yield* written.open
      assert.strictEqual(status._tag, "needs_reauth")
      assert.strictEqual((yield* Fiber.join(caller)).code, "reauthorization_required")
    }).pipe(Effect.provide(layer)))

  it.effect("is not asked when the key can open but not seal", () =>
    Effect.gen(function*() {
      const { provider, value } = yield* expired()
      const cipher = yield* Cipher
      Object.assign(cipher, { seal: () => Effect.fail(new CipherError({ code: "encryption_key_missing" })) })
      assert.strictEqual((yield* Effect.flip(value)).code, "encryption_key_missing")
      assert.deepStrictEqual(redemptions(provider), [])
    }).pipe(Effect.provide(layer)))
})

describe("a key that is away when the answer comes", () => {
  /** A connection whose provider rotates while the key goes. */
  const leaving = Effect.gen(function*() {
    const world = yield* expired("strict")
    const vault = yield* Vault
    const { refresh } = world.provider
    world.provider.refresh = (issue, grant) =>
      Effect.tap(refresh(issue, grant), () => Effect.sync(() => vault.locked = true))
    const back = Effect.sync(() => {
      vault.locked = false
      world.provider.refresh = refresh
    })
    return { ...world, back }
  })

  it.effect("I3 costs no more than the wait for it, where it is back soon", () =>
    Effect.gen(function*() {
      const { back, connection, key, provider, tokens } = yield* leaving
      yield* Effect.forkChild(Effect.delay(back, "5 seconds"))
      const token = yield* inTime(tokens.get(key), "10 seconds")
      assert.strictEqual(Redacted.value(token.accessToken), provider.issued[1])
      assert.deepStrictEqual([(yield* connection).generation, redemptions(provider)], [2, [1]])
    }).pipe(Effect.provide(layer)))

  it.effect("I3 I5 leaves the answer in memory, where it stays away, and it is stored when the key is back", () =>
    Effect.gen(function*() {
      const { back, connection, key, provider, tokens, value } = yield* leaving
      const error = yield* Effect.flip(inTime(tokens.get(key), "16 seconds"))
      assert.strictEqual(error.code, "encryption_key_missing")
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* Effect.flip(value)).code, "encryption_key_missing")
      assert.deepStrictEqual([(yield* connection).generation, yield* (yield* Spool).list], [1, []])
      yield* back
      yield* TestClock.adjust("2 seconds")
      yield* (yield* Housekeeping).replay
      assert.deepStrictEqual([(yield* connection).generation, redemptions(provider)], [2, [1]])
      yield* TestClock.adjust("2 hours")
      assert.strictEqual(yield* value, provider.issued[2])
      assert.deepStrictEqual(redemptions(provider), [1, 1])
    }).pipe(Effect.provide(layer)))
})

describe("a commit", () => {
  it.effect("I3 DB-03 is tried again while the store is away, and the spool is empty afterwards", () =>
    Effect.gen(function*() {
      const { connection, provider, real, store, tokens, key } = yield* expired()
      let refused = 0
      Object.assign(store, {
        commit: (...input: Parameters<typeof real.commit>) =>
          Effect.suspend(() => refused++ < 5 ? outage : real.commit(...input))
      })
      const token = yield* inTime(tokens.get(key), "10 seconds")
      assert.deepStrictEqual([refused, token.generation, (yield* connection).generation], [6, 2, 2])
      assert.deepStrictEqual(redemptions(provider), [1])
      assert.deepStrictEqual(yield* (yield* Spool).list, [])
    }).pipe(Effect.provide(layer)))

  for (const readable of [true, false]) {
    it.effect(`CR-09 whose answer is lost is recognised by its result id, ${readable ? "at once" : "after a failed read"}`, () =>
      Effect.gen(function*() {
        const { connection, provider, real, store, tokens, key } = yield* expired()
        let reads = 0
        let commits = 0
        Object.assign(store, {
          commit: (...input: Parameters<typeof real.commit>) =>
            Effect.suspend(() =>
              commits++ === 0 ? Effect.andThen(real.commit(...input), outage) : real.commit(...input)
            ),
          isCommitted: (...input: Parameters<typeof real.isCommitted>) =>
            Effect.suspend(() => reads++ === 0 && !readable ? outage : real.isCommitted(...input))
        })
        const token = yield* inTime(tokens.get(key), "10 seconds")
        assert.strictEqual(Redacted.value(token.accessToken), provider.issued[1])
        assert.deepStrictEqual([commits, (yield* connection).generation], [readable ? 1 : 2, 2])
        assert.deepStrictEqual(redemptions(provider), [1])
        assert.deepStrictEqual(yield* (yield* Spool).list, [])
      }).pipe(Effect.provide(layer)))
  }

  for (const back of ["store", "spool"] as const) {
    it.effect(`I3 that neither store nor spool takes in time is kept until one of them does: the ${back}`, () =>
      Effect.gen(function*() {
        const { connection, key, provider, real, store, tokens } = yield* expired("strict")
        const spool = yield* Spool
        const away = { store: true, spool: true }
        const { append } = spool
        Object.assign(store, {
          commit: (...input: Parameters<typeof real.commit>) =>
            Effect.suspend(() => away.store ? outage : real.commit(...input))
        })
        Object.assign(spool, {
          append: (...input: Parameters<typeof append>) => Effect.suspend(() => away.spool ? outage : append(...input))
        })
        yield* inTime(tokens.get(key), "50 seconds")
        assert.deepStrictEqual([yield* spool.list, (yield* connection).generation], [[], 1])
        away[back] = false
        yield* TestClock.adjust("5 seconds")
        if (back === "spool") {
          assert.strictEqual((yield* spool.list).length, 1)
          away.store = false
          yield* (yield* Housekeeping).replay
        }
        assert.deepStrictEqual([(yield* connection).generation, redemptions(provider)], [2, [1]])
        assert.deepStrictEqual(yield* spool.list, [])
      }).pipe(Effect.provide(layer)))
  }

  it.effect("S3x.12 I3 I1 that the store never takes leaves the result to the spool, and nobody redeems again when the store is back", () =>
    Effect.gen(function*() {
      const { connection, provider, real, store, tokens, key, value } = yield* expired()
      Object.assign(store, { commit: () => outage })
      const token = yield* inTime(tokens.get(key), "15 seconds")
      assert.strictEqual(Redacted.value(token.accessToken), provider.issued[1])
      assert.strictEqual((yield* connection).generation, 1)
      yield* TestClock.adjust("2 minutes")
      Object.assign(store, { commit: real.commit })
      assert.strictEqual(yield* value, provider.issued[1])
      assert.deepStrictEqual(redemptions(provider), [1])
      assert.deepStrictEqual(yield* (yield* Spool).list, [])
    }).pipe(Effect.provide(layer)))
})

describe("strict: what the store does not hear", () => {
  it.effect("I5 a lost answer to the mark asks nobody again, since nothing was sent", () =>
    Effect.gen(function*() {
      const { provider, real, store, tokens, key, value } = yield* expired("strict")
      Object.assign(store, {
        markSent: (...input: Parameters<typeof real.markSent>) => Effect.andThen(real.markSent(...input), outage)
      })
      assert.strictEqual((yield* Effect.flip(inTime(tokens.get(key), "1 second")))._tag, "StoreError")
      Object.assign(store, { markSent: real.markSent })
      assert.strictEqual(yield* value, provider.issued[1])
      assert.deepStrictEqual(redemptions(provider), [1])
    }).pipe(Effect.provide(layer)))

  it.effect("I5 an answer of the provider that cannot be recorded at once is recorded a little later", () =>
    Effect.gen(function*() {
      const { connection, provider, real, store, tokens, key } = yield* expired("strict")
      let refused = 0
      Object.assign(store, {
        fail: (...input: Parameters<typeof real.fail>) =>
          Effect.suspend(() => refused++ < 3 ? outage : real.fail(...input))
      })
      provider.refresh = () => refuse({ _tag: "Transient" })
      const error = yield* Effect.flip(inTime(tokens.get(key), "5 seconds"))
      assert.strictEqual(error._tag === "TokenError" && error.code, "authorization_server_unavailable")
      provider.refresh = (issue) => issue
      yield* TestClock.adjust("2 minutes")
      yield* tokens.get(key)
      assert.strictEqual((yield* connection).status._tag, "active")
    }).pipe(Effect.provide(layer)))
})

describe("closing the application", () => {
  it.effect("stops waiting for a refresh that hangs", () =>
    Effect.gen(function*() {
      const asked = yield* Latch.make()
      const closed = yield* Effect.forkChild(Effect.scoped(
        Effect.gen(function*() {
          const { provider, value } = yield* expired()
          provider.refresh = () => Effect.andThen(asked.open, Effect.never)
          yield* Effect.forkChild(value)
          yield* asked.await
        }).pipe(Effect.provide(layer))
      ))
      yield* asked.await
      yield* TestClock.adjust("45 seconds")
      yield* Fiber.join(closed)
    }))

  it.effect("I3 keeps in the spool what has arrived, even beyond the time it waits", () =>
    Effect.gen(function*() {
      const world = yield* Deferred.make<readonly [InjectionPoints["Service"], Spool["Service"]]>()
      const closed = yield* Effect.forkChild(Effect.scoped(
        Effect.gen(function*() {
          const { value } = yield* expired()
          const points = yield* InjectionPoints
          yield* points.pause("refresh.response_received")
          yield* Effect.forkChild(value)
          yield* points.awaitReached("refresh.response_received")
          yield* Deferred.succeed(world, [points, yield* Spool])
        }).pipe(Effect.provide(layer))
      ))
      const [points, spool] = yield* Deferred.await(world)
      yield* TestClock.adjust("45 seconds")
      yield* points.release("refresh.response_received")
      yield* Fiber.join(closed)
      assert.strictEqual((yield* spool.list).length, 1)
    }))
})
