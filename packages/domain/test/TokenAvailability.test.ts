import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { Connections } from "@valetkey/domain/Connections"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import * as Instruments from "@valetkey/domain/Instruments"
import { StoreError } from "@valetkey/domain/StoreError"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { DateTime, Duration, Effect, Fiber, Metric, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, layer, Provider, refuse } from "./World.ts"

const connected = Effect.fnUntraced(function*(lifetime = 3600, slug = "mcp") {
  const provider = yield* Provider
  provider.lifetime = lifetime
  const key = yield* keyOf(slug)
  yield* connect(key)
  return { key, provider, tokens: yield* AccessTokens }
})

const redeemed = (provider: Provider["Service"]) =>
  [...provider.redemptions].filter(([token]) => token.includes("refresh")).map(([, count]) => count)

const down = () => refuse({ _tag: "Transient", retryAfter: Duration.minutes(5) })

describe("what is left of a token", () => {
  it.effect("REF-15 is what the caller asked for or half of a short life, and never nothing", () =>
    Effect.gen(function*() {
      for (const lifetime of [10, 59, 61, 600, 3600]) {
        const { key, tokens } = yield* connected(lifetime, `mcp-${lifetime}`)
        for (const demand of [0, 1, 30, 300]) {
          for (const age of [0, 0.3, 0.49, 0.51, 0.9, 0.999, 1, 3]) {
            const before = yield* tokens.get(key, { minValidity: 0 })
            yield* TestClock.adjust(Duration.seconds(lifetime * age))
            const token = yield* tokens.get(key, { minValidity: Duration.seconds(demand) })
            const left = Duration.toSeconds(DateTime.distance(yield* DateTime.now, token.expiresAt!))
            assert.isAbove(left, 0)
            assert.isAtLeast(left, Math.min(demand, lifetime / 2), `${lifetime} ${demand} ${age}`)
            // A token that lives shorter than its caller asks for is not refreshed on every call.
            if (demand > lifetime && token.generation !== before.generation) assert.strictEqual(left, lifetime)
          }
        }
      }
    }).pipe(Effect.provide(layer)))
})

describe("a provider that is down", () => {
  it.effect("REF-16 takes nothing away that is still valid", () =>
    Effect.gen(function*() {
      const { key, provider, tokens } = yield* connected()
      provider.refresh = down
      yield* TestClock.adjust("50 minutes")
      for (const minValidity of [undefined, Duration.minutes(9)]) {
        assert.strictEqual(Redacted.value((yield* tokens.get(key, { minValidity })).accessToken), provider.issued[0])
      }
      assert.deepStrictEqual(redeemed(provider), [])
      // Too little is left for the default, and more than nothing.
      yield* TestClock.adjust("585 seconds")
      assert.strictEqual(Redacted.value((yield* tokens.get(key)).accessToken), provider.issued[0])
      assert.deepStrictEqual(redeemed(provider), [1])
      assert.strictEqual(
        (yield* Effect.flip(tokens.get(key, { minValidity: "20 seconds" }))).code,
        "authorization_server_unavailable"
      )
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual((yield* Effect.flip(tokens.get(key))).code, "authorization_server_unavailable")
      assert.deepStrictEqual(redeemed(provider), [1])
    }).pipe(Effect.provide(layer)))

  it.effect("hands out nothing of a connection that was ended or refused meanwhile", () =>
    Effect.gen(function*() {
      const { key, provider, tokens } = yield* connected()
      const first = yield* tokens.get(key)
      yield* TestClock.adjust("3585 seconds")
      const connections = yield* Connections
      provider.refresh = () => Effect.andThen(Effect.orDie(connections.disconnect(key)), down())
      assert.strictEqual((yield* Effect.flip(tokens.get(key))).code, "authorization_server_unavailable")
      assert.strictEqual((yield* Effect.flip(tokens.get(key))).code, "connection_not_found")
      yield* connect(key)
      const second = yield* tokens.get(key)
      assert.notStrictEqual(Redacted.value(second.accessToken), Redacted.value(first.accessToken))
      provider.refresh = down
      const refused = Effect.flip(tokens.get(key, { rejected: second.accessToken }))
      assert.strictEqual((yield* refused).code, "authorization_server_unavailable")
      assert.strictEqual((yield* Effect.flip(tokens.get(key))).code, "authorization_server_unavailable")
    }).pipe(Effect.provide(layer)))
})

describe("a caller that goes away", () => {
  it.effect("leaves the refresh to its end, before the request is sent as after it", () =>
    Effect.gen(function*() {
      const points = yield* InjectionPoints
      const { key, provider, tokens } = yield* connected()
      for (const [index, point] of (["refresh.claimed", "refresh.sent"] as const).entries()) {
        yield* TestClock.adjust("2 hours")
        yield* points.pause(point, { times: 1 })
        const caller = yield* Effect.forkChild(tokens.get(key))
        yield* points.awaitReached(point, index + 1)
        yield* Fiber.interrupt(caller)
        assert.strictEqual(redeemed(provider).length, index)
        yield* points.release(point)
        yield* points.awaitReached("refresh.after_commit", index + 1)
        const stored = Option.getOrThrow(yield* (yield* ConnectionStore).get(key))
        assert.strictEqual(stored.generation, index + 2)
        assert.strictEqual(Redacted.value((yield* tokens.get(key)).accessToken), provider.issued[index + 1])
      }
      assert.deepStrictEqual(redeemed(provider), [1, 1])
    }).pipe(Effect.provide(layer)))

  it.effect("REF-24 leaves nothing behind, as little as success, refusal, outage and defect do", () =>
    Effect.gen(function*() {
      const inFlight = Effect.map(Metric.value(Instruments.refreshesInFlight), ({ value }) => value)
      const before = yield* inFlight
      const points = yield* InjectionPoints
      const { key, provider, tokens } = yield* connected()
      const store = yield* ConnectionStore
      const real = { ...store }
      const unavailable = Effect.fail(new StoreError({ code: "store_unavailable", operation: "test" }))
      const ends = [
        Effect.sync(() => provider.refresh = (issue) => issue),
        Effect.sync(() => provider.refresh = () => refuse({ _tag: "Transient" })),
        Effect.sync(() => provider.refresh = () => refuse({ _tag: "Configuration", error: "invalid_client" })),
        Effect.sync(() => provider.refresh = () => Effect.die("a defect")),
        Effect.sync(() => Object.assign(store, { claim: () => unavailable })),
        Effect.sync(() => provider.refresh = () => refuse({ _tag: "Terminal", error: "invalid_grant" }))
      ]
      for (const [index, end] of ends.entries()) {
        yield* TestClock.adjust("2 hours")
        Object.assign(store, real)
        yield* end
        yield* points.pause("refresh.claimed", { times: 1 })
        const caller = yield* Effect.forkChild(Effect.exit(tokens.get(key)), { startImmediately: true })
        assert.strictEqual((yield* inFlight) - before, caller.pollUnsafe() === undefined ? 1 : 0, `${index}`)
        yield* points.release("refresh.claimed")
        yield* Fiber.join(caller)
        assert.strictEqual(yield* inFlight, before, `${index}`)
      }
    }).pipe(Effect.provide(layer)))
})

describe("a caller that waits for another replica", () => {
  /** The lease is with somebody else, who ends it as the test says. */
  const waiting = Effect.gen(function*() {
    const { key, provider, tokens } = yield* connected()
    const store = yield* ConnectionStore
    yield* TestClock.adjust("2 hours")
    const { epoch, generation } = Option.getOrThrow(yield* store.get(key))
    const lease = { generation, epoch, policy: "retry-once" as const, lease: Duration.minutes(1) }
    const claim = yield* store.claim(key, lease)
    const fence = claim._tag === "Claimed" ? claim.fence : 0
    const caller = yield* Effect.forkChild(Effect.result(tokens.get(key)), { startImmediately: true })
    assert.isUndefined(caller.pollUnsafe())
    const told = Effect.gen(function*() {
      yield* TestClock.adjust("2 seconds")
      const result = caller.pollUnsafe() === undefined ? undefined : yield* Fiber.join(caller)
      if (result?._tag !== "Failure") return result?.success === undefined ? "waits" : "token"
      const error = result.failure
      return [error.code, error._tag === "TokenError" && error.retryAfter !== undefined]
    })
    return { key, provider, store, lease, fence, caller, told }
  })

  it.effect("REF-27 gets its token or is told when to come back, whatever becomes of the row meanwhile", () =>
    Effect.gen(function*() {
      const failed = yield* waiting
      assert.strictEqual(yield* failed.told, "waits")
      const failure = { _tag: "Retryable", delay: Duration.minutes(1) } as const
      yield* failed.store.fail(failed.key, { ...failed.lease, fence: failed.fence, failure })
      assert.deepStrictEqual(yield* failed.told, ["authorization_server_unavailable", true])
    }).pipe(Effect.provide(layer)))

  it.effect("REF-27 gets the token of a new consent", () =>
    Effect.gen(function*() {
      const { key, told } = yield* waiting
      yield* connect(key)
      assert.strictEqual(yield* told, "token")
    }).pipe(Effect.provide(layer)))

  it.effect("REF-27 takes over when the other one is gone", () =>
    Effect.gen(function*() {
      const { told } = yield* waiting
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* told, "token")
    }).pipe(Effect.provide(layer)))

  it.effect("REF-27 is told to come back when its patience ends", () =>
    Effect.gen(function*() {
      const { caller, lease, key, store } = yield* waiting
      yield* TestClock.adjust("59 seconds")
      // Somebody else again and again: the lease is never free when the caller looks.
      Object.assign(store, { claim: () => Effect.succeed({ _tag: "Busy", remaining: lease.lease }) })
      yield* TestClock.adjust("16 seconds")
      const result = yield* Fiber.join(caller)
      const error = result._tag === "Failure" ? result.failure : undefined
      assert.strictEqual(error?.code, "refresh_in_progress")
      assert.isDefined(error?._tag === "TokenError" ? error.retryAfter : undefined)
      assert.isTrue(Option.isSome(yield* store.get(key)))
    }).pipe(Effect.provide(layer)))
})
