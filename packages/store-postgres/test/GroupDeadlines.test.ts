import { assert, describe, it } from "@effect/vitest"
import type { StoreError } from "@valetkey/domain/StoreError"
import { Deferred, Duration, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import type { Database } from "../src/Database.ts"
import { notLater } from "../src/internal/groupedRows.ts"

const database = { deadline: Duration.seconds(4) } as Database["Service"]

/** Two who asked in the first moment and after 3.9 seconds, in one statement after 3.95 seconds. */
const stalled = Effect.gen(function*() {
  const ask = Effect.clockWith((clock) =>
    Effect.sync(() => ({
      input: { since: clock.monotonicTimeNanosUnsafe() },
      done: Deferred.makeUnsafe<string, StoreError>()
    }))
  )
  const old = yield* ask
  yield* TestClock.adjust("3900 millis")
  const young = yield* ask
  yield* TestClock.adjust("50 millis")
  const answered = yield* Deferred.make<void>()
  const answers = Effect.sync(() => {
    for (const { done } of [young, old]) Deferred.doneUnsafe(done, Effect.succeed("served"))
  })
  const running = yield* Effect.forkChild(
    notLater(database, "Test.group", [young, old], Effect.andThen(Deferred.await(answered), answers)),
    { startImmediately: true }
  )
  return { old, young, answered, running }
})

describe("the deadlines of a group", () => {
  it.effect("cut off who has waited the longest, and nobody who came late to a statement", () =>
    Effect.gen(function*() {
      const { answered, old, running, young } = yield* stalled
      yield* TestClock.adjust("49 millis")
      assert.isFalse(Deferred.isDoneUnsafe(old.done))
      yield* TestClock.adjust("1 millis")
      assert.isTrue(Deferred.isDoneUnsafe(old.done))
      assert.strictEqual((yield* Effect.flip(Deferred.await(old.done))).code, "store_unavailable")
      yield* TestClock.adjust("3899 millis")
      assert.isFalse(Deferred.isDoneUnsafe(young.done))
      yield* Deferred.succeed(answered, undefined)
      yield* Fiber.join(running)
      assert.strictEqual(yield* Deferred.await(young.done), "served")
    }))

  it.effect("end the work with that of the last", () =>
    Effect.gen(function*() {
      const { answered, running, young } = yield* stalled
      yield* TestClock.adjust("3949 millis")
      assert.isFalse(Deferred.isDoneUnsafe(young.done))
      yield* TestClock.adjust("1 millis")
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(running)))
      yield* Deferred.succeed(answered, undefined)
      assert.strictEqual((yield* Effect.flip(Deferred.await(young.done))).code, "store_unavailable")
    }))
})
