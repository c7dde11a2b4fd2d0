import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, type Duration, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { makeCallersPatience } from "../src/internal/patience.ts"

/** The patience of callers, and how many timers there are. */
const observed = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const timers = { now: 0 }
  const counted: Clock.Clock = Object.assign(Object.create(clock), {
    sleep: (duration: Duration.Duration) =>
      Effect.acquireUseRelease(
        Effect.sync(() => void timers.now++),
        () => clock.sleep(duration),
        () => Effect.sync(() => void timers.now--)
      )
  })
  const withPatience = yield* Effect.provideService(makeCallersPatience, Clock.Clock, counted)
  const ended: Array<string> = []
  const wait = (inner: Effect.Effect<string>) =>
    Effect.forkChild(
      withPatience(Effect.onInterrupt(inner, () => Effect.sync(() => ended.push("interrupted"))), {
        duration: "10 seconds",
        orElse: () => Effect.sync(() => ["else", ...ended].join(" "))
      }),
      { startImmediately: true }
    )
  return {
    ended,
    timers,
    wait: (inner: Effect.Effect<string>) => Effect.provideService(wait(inner), Clock.Clock, counted)
  }
})

describe("the patience of a caller", () => {
  it.effect("ends at its deadline, and what it waited for is interrupted before it hears of that", () =>
    Effect.gen(function*() {
      const { ended, wait } = yield* observed
      const caller = yield* wait(Effect.never)
      yield* TestClock.adjust("9 seconds")
      assert.deepStrictEqual([caller.pollUnsafe(), ended], [undefined, []])
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(caller), "else interrupted")
    }).pipe(Effect.scoped))

  it.effect("leaves no timer and no work behind when it is cancelled", () =>
    Effect.gen(function*() {
      const { ended, timers, wait } = yield* observed
      const caller = yield* wait(Effect.never)
      yield* Effect.yieldNow
      assert.strictEqual(timers.now, 1)
      yield* Fiber.interrupt(caller)
      yield* Effect.yieldNow
      assert.deepStrictEqual([timers.now, ended], [0, ["interrupted"]])
    }).pipe(Effect.scoped))

  it.effect("leaves no timer behind when it has what it waited for", () =>
    Effect.gen(function*() {
      const { ended, timers, wait } = yield* observed
      const token = yield* Deferred.make<string>()
      const caller = yield* wait(Deferred.await(token))
      yield* Effect.yieldNow
      assert.strictEqual(timers.now, 1)
      yield* Deferred.succeed(token, "token")
      assert.strictEqual(yield* Fiber.join(caller), "token")
      yield* Effect.yieldNow
      assert.deepStrictEqual([timers.now, ended], [0, []])
    }).pipe(Effect.scoped))
})
