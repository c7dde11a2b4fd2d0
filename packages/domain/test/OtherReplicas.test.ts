import { assert, describe, it } from "@effect/vitest"
import type { Connection } from "@valetkey/domain/Connection"
import type { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { connectionTopic, Signals } from "@valetkey/domain/Signals"
import { DateTime, Duration, Effect, Fiber, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { expired, inTime, redemptions } from "./Expired.ts"
import { layer, refuse } from "./World.ts"

describe("another replica", () => {
  const elsewhere = Effect.fnUntraced(
    function*(store: ConnectionStore["Service"], { epoch, generation, grant, key, credentials }: Connection) {
      const claim = yield* store.claim(key, {
        generation,
        epoch,
        policy: grant.redemptionPolicy,
        lease: Duration.minutes(1)
      })
      assert.strictEqual(claim._tag, "Claimed")
      const issuedAt = yield* DateTime.now
      return store.deposit(key, {
        epoch,
        previous: generation,
        grant,
        credentials: { ...credentials, issuedAt, expiresAt: DateTime.add(issuedAt, { hours: 1 }) }
      })
    }
  )

  it.effect("wakes the waiting caller with its signal, and no clock has to tick", () =>
    Effect.gen(function*() {
      const { connection, store, tokens, key } = yield* expired()
      const finish = yield* elsewhere(store, yield* connection)
      const waiting = yield* Effect.forkChild(Effect.exit(tokens.get(key)), { startImmediately: true })
      yield* Effect.yieldNow
      assert.isUndefined(waiting.pollUnsafe())
      yield* finish
      yield* (yield* Signals).notify(connectionTopic(key))
      yield* Fiber.join(waiting)
    }).pipe(Effect.provide(layer)))

  it.effect("DB-10 whose signal is lost is found by the poll", () =>
    Effect.gen(function*() {
      const { connection, store, tokens, key } = yield* expired()
      const finish = yield* elsewhere(store, yield* connection)
      const waiting = yield* Effect.forkChild(Effect.exit(tokens.get(key)), { startImmediately: true })
      yield* Effect.yieldNow
      yield* finish
      yield* TestClock.adjust("500 millis")
      assert.isDefined(waiting.pollUnsafe())
    }).pipe(Effect.provide(layer)))

  it.effect("hears of a result and of a failure by signal", () =>
    Effect.gen(function*() {
      const { key, provider, value } = yield* expired()
      const signals = yield* Signals
      for (const refresh of [() => refuse({ _tag: "Transient" }), provider.refresh]) {
        yield* TestClock.adjust("1 minute")
        provider.refresh = refresh
        yield* Effect.scoped(Effect.gen(function*() {
          const wake = yield* signals.subscribe(connectionTopic(key))
          yield* Effect.exit(value)
          yield* wake
        }))
      }
    }).pipe(Effect.provide(layer)))

  it.effect("S4.72 is waited for with one subscription at a time", () =>
    Effect.gen(function*() {
      const { connection, key, store, tokens } = yield* expired()
      yield* Effect.asVoid(elsewhere(store, yield* connection))
      const signals = yield* Signals
      const { subscribe } = signals
      let [live, most] = [0, 0]
      Object.assign(signals, {
        subscribe: (topic: string) =>
          Effect.andThen(
            Effect.acquireRelease(
              Effect.sync(() => most = Math.max(most, ++live)),
              () => Effect.sync(() => live--)
            ),
            subscribe(topic)
          )
      })
      yield* inTime(Effect.exit(tokens.get(key)), "75 seconds")
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual([live, most], [0, 1])
    }).pipe(Effect.provide(layer)))

  it.effect("I7 that never finishes is waited for no longer than the waiter's deadline", () =>
    Effect.gen(function*() {
      const { connection, real, store, tokens, key } = yield* expired()
      yield* Effect.asVoid(elsewhere(store, yield* connection))
      let claims = 0
      Object.assign(store, {
        claim: () => Effect.sync(() => (claims++, { _tag: "Busy", remaining: Duration.minutes(1) }))
      })
      const error = yield* Effect.flip(inTime(tokens.get(key), "75 seconds"))
      assert.strictEqual(error.code, "refresh_in_progress")
      yield* TestClock.adjust("1 second")
      const asked = claims
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(claims, asked)
      Object.assign(store, { claim: real.claim })
    }).pipe(Effect.provide(layer)))
})

describe("a caller whose refresh finds what another replica stored", () => {
  it.effect("I6 is not given the token that it has just proved to be rejected", () =>
    Effect.gen(function*() {
      const { connection, key, provider, real, store, tokens } = yield* expired()
      const before = yield* connection
      const { accessToken } = yield* tokens.get(key)
      yield* TestClock.adjust("2 minutes")
      let reads = 0
      // The result that the token is of is stored behind the back of whoever has just read.
      Object.assign(store, {
        get: (...input: Parameters<typeof real.get>) => reads++ === 0 ? Effect.succeedSome(before) : real.get(...input)
      })
      const token = yield* tokens.get(key, { rejected: accessToken })
      assert.strictEqual(Redacted.value(token.accessToken), provider.issued[2])
      assert.deepStrictEqual(redemptions(provider), [1, 1])
    }).pipe(Effect.provide(layer)))
})
