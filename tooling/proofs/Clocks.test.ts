import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import * as Instruments from "@valetkey/domain/Instruments"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Clock, Duration, Effect, Fiber, Latch, Layer, Metric, Redacted } from "effect"
import { type Store, stores } from "./EveryStore.ts"
import * as Installation from "./Installation.ts"

/** A host whose wall clock is wrong and can be set meanwhile; its monotonic clock and its timers go on as they do. */
const host = (offset: Duration.Input) => {
  let off = Duration.toMillis(offset)
  const skewed = (clock: Clock.Clock): Clock.Clock => ({
    currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + off,
    currentTimeMillis: Effect.map(clock.currentTimeMillis, (now) => now + off),
    currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe() + BigInt(off) * 1_000_000n,
    currentTimeNanos: Effect.map(clock.currentTimeNanos, (now) => now + BigInt(off) * 1_000_000n),
    monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
    monotonicTimeNanos: clock.monotonicTimeNanos,
    sleep: (duration) => clock.sleep(duration)
  })
  return {
    step: (by: Duration.Input) => Effect.sync(() => void (off += Duration.toMillis(by))),
    run: <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.flatMap(Clock.Clock, (clock) => Effect.provideService(effect, Clock.Clock, skewed(clock)))
  }
}

const installation = (store: Store) => Layer.fresh(Installation.layer(store()))

describe("a host whose clock", () => {
  for (const [name, store] of Object.entries(stores)) {
    for (const offset of [Duration.hours(1), Duration.hours(-1)]) {
      it.live(
        `TIME-01 is ${
          Duration.toHours(offset)
        } h off the provider's refreshes once and hands the token out, on ${name}`,
        () =>
          Effect.gen(function*() {
            const provider = yield* FakeProvider.make({ rotation: "rotate-revoke-family" })
            yield* host(offset).run(
              Effect.gen(function*() {
                const tokens = yield* AccessTokens
                const { key } = yield* Installation.depositExpired(provider)
                for (let call = 0; call < 20; call++) {
                  const { accessToken } = yield* tokens.get(key, { minValidity: "1 minute" })
                  assert.isTrue(provider.isActive(Redacted.value(accessToken)))
                }
              }).pipe(Effect.provide(installation(yield* store)))
            )
            assert.strictEqual(provider.requests("token").length, 1)
          }),
        20_000
      )
    }

    for (const by of [Duration.minutes(10), Duration.minutes(-10)]) {
      it.live(
        `TIME-02 steps by ${
          Duration.toMinutes(by)
        } min while the provider answers times nothing out and redeems nothing twice, on ${name}`,
        () =>
          Effect.gen(function*() {
            const provider = yield* FakeProvider.make({ rotation: "rotate-revoke-family" })
            const clock = host(Duration.zero)
            const gate = yield* Latch.make()
            provider.script("token", [Reply.before(gate.await)])
            yield* clock.run(
              Effect.gen(function*() {
                const tokens = yield* AccessTokens
                const { key, refreshToken } = yield* Installation.depositExpired(provider)
                const first = yield* Effect.forkChild(tokens.get(key), { startImmediately: true })
                yield* provider.arrived("token")
                yield* clock.step(by)
                const second = yield* Effect.forkChild(tokens.get(key), { startImmediately: true })
                yield* gate.open
                const [one, two] = [yield* Fiber.join(first), yield* Fiber.join(second)]
                assert.strictEqual(Redacted.value(one.accessToken), Redacted.value(two.accessToken))
                assert.strictEqual(provider.tokenCount(refreshToken), 1)
                assert.isTrue(provider.isActive(Redacted.value((yield* tokens.get(key)).accessToken)))
              }).pipe(Effect.provide(installation(yield* store)))
            )
            assert.isTrue(provider.families.every(({ revoked }) => !revoked))
          }),
        20_000
      )
    }

    it.live(
      `TIME-05 is asked for a token of thirty days sets no timer that overflows, on ${name}`,
      () =>
        Effect.gen(function*() {
          const provider = yield* FakeProvider.make({ rotation: "rotate-revoke-family" })
          provider.script("token", [Reply.patch({ expires_in: 30 * 86_400 })])
          yield* Effect.gen(function*() {
            const tokens = yield* AccessTokens
            const { key } = yield* Installation.depositExpired(provider)
            const { expiresAt } = yield* tokens.get(key)
            const left = expiresAt!.epochMilliseconds - (yield* Clock.currentTimeMillis)
            assert.isAbove(left, 29 * 86_400_000)
            for (let call = 0; call < 20; call++) yield* tokens.get(key)
          }).pipe(Effect.provide(installation(yield* store)))
          assert.strictEqual(provider.requests("token").length, 1)
        }),
      20_000
    )
  }

  it.live("TIME-01 differs from the provider's is told by a metric", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      yield* host("1 hour").run(
        Effect.gen(function*() {
          const { key } = yield* Installation.depositExpired(provider)
          yield* (yield* AccessTokens).get(key)
        }).pipe(Effect.provide(installation(yield* stores.memory)))
      )
      const { max } = yield* Metric.value(Instruments.providerClockSkew)
      assert.isAtLeast(max, 3590)
      assert.isAtMost(max, 3610)
    }))
})
