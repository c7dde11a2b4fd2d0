import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { aheadOf, isDue } from "@valetkey/domain/RefreshAhead"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { Context, DateTime, Deferred, Duration, Effect, Exit, Fiber, Latch, Layer, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import fc from "fast-check"
import { connect, keyOf, layer as layerNever, layerWith, Provider, refuse } from "./World.ts"

const ahead = Duration.minutes(5)
const layer = layerWith({ ahead })
const at = (millis: number) => DateTime.makeUnsafe(millis)

const connected = Effect.gen(function*() {
  const key = yield* keyOf("mcp")
  yield* connect(key)
  const tokens = yield* AccessTokens
  const provider = yield* Provider
  return {
    key,
    tokens,
    provider,
    value: Effect.map(tokens.get(key), ({ accessToken }) => Redacted.value(accessToken)),
    redeemed: () => [...provider.redemptions].filter(([token]) => token.includes("refresh")).map(([, count]) => count)
  }
})

/** Lets fibers run until nothing more happens without the clock. */
const quiet = Effect.forEach(Array.from({ length: 50 }), () => Effect.yieldNow, { discard: true })

describe("the time of a renewal", () => {
  it("is within the last fifth of the lifetime and the last minutes, and its own for every name", () => {
    fc.assert(fc.property(fc.nat({ max: 100_000 }), fc.nat({ max: 100_000 }), fc.string(), (lifetime, age, name) => {
      const token = { issuedAt: at(0), expiresAt: at(lifetime * 1000) }
      const left = (lifetime - age) * 1000
      const window = Duration.toMillis(aheadOf(token, { ahead, name }))
      assert.isAtMost(window, Math.min(300_000, lifetime * 1000 / 5))
      assert.isAtLeast(window, Math.min(300_000, lifetime * 1000 / 5) / 2)
      assert.strictEqual(isDue(token, { ahead, name: () => name, now: at(age * 1000) }), left > 0 && left < window)
    }))
    assert.isFalse(isDue({ issuedAt: at(0) }, { ahead, name: () => "", now: at(1) }))
  })

  it("spreads connections that were made together", () => {
    const token = { issuedAt: at(0), expiresAt: at(3_600_000) }
    const spread = Array.from(
      { length: 1000 },
      (_, index) => Duration.toSeconds(aheadOf(token, { ahead, name: `acme/person-${index}/mcp epoch 1` }))
    )
    for (let from = 150; from < 300; from += 15) {
      const within = spread.filter((seconds) => seconds >= from && seconds < from + 15).length
      assert.isAtLeast(within, 60, `${from}`)
      assert.isAtMost(within, 140, `${from}`)
    }
  })
})

describe("a token that is about to end", () => {
  it.effect("is handed out at once, and the next caller finds its successor", () =>
    Effect.gen(function*() {
      const { provider, redeemed, value } = yield* connected
      yield* TestClock.adjust("54 minutes")
      assert.strictEqual(yield* value, provider.issued[0])
      yield* quiet
      assert.deepStrictEqual(redeemed(), [])
      yield* TestClock.adjust("4 minutes")
      const gate = yield* Deferred.make<void>()
      provider.refresh = (issue) => Effect.andThen(Deferred.await(gate), issue)
      for (const _ of [1, 2, 3]) assert.strictEqual(yield* value, provider.issued[0])
      yield* Deferred.succeed(gate, undefined)
      yield* quiet
      assert.strictEqual(yield* value, provider.issued[1])
      assert.deepStrictEqual(redeemed(), [1])
    }).pipe(Effect.provide(layer)))

  it.effect("REF-25 is renewed once by who is ahead and who needs it, on one replica and on two", () =>
    Effect.gen(function*() {
      const { key, provider, redeemed, tokens } = yield* connected
      const other = Context.get(yield* Layer.build(Layer.fresh(AccessTokens.layer({ ahead }))), AccessTokens)
      yield* TestClock.adjust("58 minutes")
      const [asked, gate] = [yield* Latch.make(), yield* Deferred.make<void>()]
      provider.refresh = (issue) => Effect.andThen(asked.open, Effect.andThen(Deferred.await(gate), issue))
      const behind = [yield* tokens.get(key), yield* other.get(key)]
      assert.deepStrictEqual(behind.map(({ generation }) => Number(generation)), [1, 1])
      yield* asked.await
      const needing = yield* Effect.forEach(
        [tokens, other],
        (replica) => Effect.forkChild(replica.get(key, { minValidity: "10 minutes" }), { startImmediately: true })
      )
      yield* quiet
      yield* Deferred.succeed(gate, undefined)
      yield* quiet
      yield* TestClock.adjust("1 second")
      const renewed = yield* Effect.forEach(needing, Fiber.join)
      assert.deepStrictEqual(renewed.map(({ accessToken }) => Redacted.value(accessToken)), [
        provider.issued[1],
        provider.issued[1]
      ])
      assert.deepStrictEqual(redeemed(), [1])
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("is asked about again after half a minute, and handed out meanwhile, when its provider is down", () =>
    Effect.gen(function*() {
      const { provider, redeemed, value } = yield* connected
      yield* TestClock.adjust("58 minutes")
      provider.refresh = () => refuse({ _tag: "Transient" })
      for (const seconds of [0, 10, 10, 9, 1, 0]) {
        yield* TestClock.adjust(Duration.seconds(seconds))
        assert.strictEqual(yield* value, provider.issued[0])
        yield* quiet
      }
      assert.deepStrictEqual(redeemed(), [2])
    }).pipe(Effect.provide(layer)))

  it.effect("is renewed because somebody asks: after a long sleep nothing happens by itself, and then once", () =>
    Effect.gen(function*() {
      const { provider, redeemed, value } = yield* connected
      yield* TestClock.adjust("58 minutes")
      yield* TestClock.adjust("10 hours")
      yield* quiet
      assert.deepStrictEqual(redeemed(), [])
      const callers = yield* Effect.forEach(
        Array.from({ length: 20 }),
        () => Effect.forkChild(value, { startImmediately: true })
      )
      assert.deepStrictEqual([...new Set(yield* Effect.forEach(callers, Fiber.join))], [provider.issued[1]])
      assert.deepStrictEqual(redeemed(), [1])
    }).pipe(Effect.provide(layer)))

  it.effect("TIME-04 is redeemed once at most after a sleep that ate every lease, and only for who asks", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const points = yield* InjectionPoints
      const one = yield* AccessTokens
      const two = Context.get(yield* Layer.build(Layer.fresh(AccessTokens.layer({ ahead }))), AccessTokens)
      const keys = yield* Effect.forEach(Array.from({ length: 10 }), (_, index) => keyOf(`mcp-${index}`))
      yield* Effect.forEach(keys, connect)
      yield* TestClock.adjust("2 hours")
      const ask = (tokens: AccessTokens["Service"], key: ConnectionKey) =>
        Effect.forkChild(Effect.exit(tokens.get(key)), { startImmediately: true })
      const [claimed, sent] = keys as [ConnectionKey, ConnectionKey]
      yield* points.pause("refresh.claimed", { times: 1 })
      const before = [yield* ask(one, claimed)]
      yield* points.awaitReached("refresh.claimed")
      yield* points.pause("refresh.sent", { times: 1 })
      before.push(yield* ask(one, sent))
      yield* points.awaitReached("refresh.sent")

      yield* TestClock.adjust("10 minutes")
      yield* quiet
      assert.strictEqual(provider.redemptions.size, keys.length)
      const asked = keys.slice(0, 5)
      const after = yield* Effect.forEach(asked, (key) => ask(two, key))
      yield* points.release("refresh.claimed")
      yield* points.release("refresh.sent")
      yield* quiet
      yield* TestClock.adjust("3 seconds")
      for (const fiber of after) assert.isTrue(Exit.isSuccess(yield* Fiber.join(fiber)))
      yield* Effect.forEach(before, Fiber.join)
      const redeemed = [...provider.redemptions].filter(([token]) => token.includes("refresh"))
      assert.deepStrictEqual(redeemed.map(([, count]) => count), asked.map(() => 1))
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("is left alone where nobody asked for that, and where there is nothing to renew it with", () =>
    Effect.gen(function*() {
      const { key, provider, redeemed, value } = yield* connected
      yield* TestClock.adjust("58 minutes")
      assert.strictEqual(yield* value, provider.issued[0])
      provider.answer = ({ refreshToken: _, ...credentials }) => credentials
      yield* connect(key)
      const other = Context.get(yield* Layer.build(Layer.fresh(AccessTokens.layer({ ahead }))), AccessTokens)
      yield* TestClock.adjust("58 minutes")
      const connection = Option.getOrThrow(yield* (yield* ConnectionStore).get(key))
      assert.isFalse(other.isDue(connection, yield* DateTime.now))
      assert.strictEqual(Redacted.value((yield* other.get(key)).accessToken), provider.issued[1])
      yield* quiet
      assert.deepStrictEqual(redeemed(), [])
    }).pipe(Effect.scoped, Effect.provide(layerNever)))
})
