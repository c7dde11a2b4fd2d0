import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { threshold } from "@valetkey/domain/Pacing"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { Clock, Context, Duration, Effect, Fiber, Layer, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { expired, inTime, redemptions } from "./Expired.ts"
import { layer, refuse } from "./World.ts"

/** A connection whose token is over, before and after a clock that is two hours ahead is set right. */
const early = Effect.gen(function*() {
  const world = yield* expired()
  yield* TestClock.adjust("2 hours")
  return {
    ...world,
    setRight: Effect.flatMap(
      Clock.currentTimeMillis,
      (now) => TestClock.setTime(now - Duration.toMillis(Duration.hours(2)))
    )
  }
})

describe("a clock that was set back", () => {
  it.effect("TIME-02 keeps nobody from a token for whom a refresh failed under it", () =>
    Effect.gen(function*() {
      const { provider, setRight, value } = yield* early
      const { refresh } = provider
      provider.refresh = () => refuse({ _tag: "Transient" })
      yield* Effect.flip(value)
      provider.refresh = refresh
      yield* setRight
      assert.strictEqual(yield* inTime(value, "1 second"), provider.issued[1])
    }).pipe(Effect.provide(layer)))

  it.effect("TIME-02 keeps nobody from an endpoint whose circuit opened under it", () =>
    Effect.gen(function*() {
      const { provider, setRight, value } = yield* early
      const { refresh } = provider
      provider.refresh = () => refuse({ _tag: "Transient" })
      for (let times = 0; times < threshold; times++) {
        yield* Effect.flip(value)
        yield* TestClock.adjust("3 seconds")
      }
      provider.refresh = refresh
      yield* setRight
      assert.strictEqual(yield* inTime(value, "1 second"), provider.issued[1])
    }).pipe(Effect.provide(layer)))

  it.effect("TIME-02 I1 ends no lease of a request that is under way, and a dead owner's within a minute", () =>
    Effect.gen(function*() {
      const { key, provider, setRight, tokens } = yield* early
      const points = yield* InjectionPoints
      const other = Context.get(yield* Layer.build(Layer.fresh(AccessTokens.layer())), AccessTokens)
      yield* points.pause("refresh.sent", { times: 1 })
      yield* Effect.forkChild(tokens.get(key), { startImmediately: true })
      yield* points.awaitReached("refresh.sent")
      yield* setRight
      const second = yield* Effect.forkChild(other.get(key), { startImmediately: true })
      yield* TestClock.adjust("58 seconds")
      assert.deepStrictEqual([second.pollUnsafe(), redemptions(provider)], [undefined, []])
      yield* TestClock.adjust("4 seconds")
      assert.isDefined(second.pollUnsafe(), "nobody took over within a minute")
      assert.strictEqual(Redacted.value((yield* Fiber.join(second)).accessToken), provider.issued[1])
      assert.deepStrictEqual(redemptions(provider), [1])
      yield* points.release("refresh.sent")
    }).pipe(Effect.scoped, Effect.provide(layer)))
})
