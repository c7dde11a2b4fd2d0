import { assert, describe, it } from "@effect/vitest"
import { type FlowId } from "@valetkey/domain/Flow"
import { flowTopic, Signals } from "@valetkey/domain/Signals"
import * as MemorySignals from "@valetkey/store-memory/MemorySignals"
import { Effect, Latch } from "effect"
import { TestClock } from "effect/testing"
import { type Found, makeRounds } from "../src/internal/rounds.ts"

/** Rounds that find what they are told to, and how many there were. */
const counted = (found: () => Found) =>
  Effect.gen(function*() {
    const counted = { rounds: 0 }
    const rounds = yield* makeRounds({ every: "2 seconds", idle: "8 seconds" })
    yield* Effect.forkScoped(rounds(Effect.sync(() => (counted.rounds++, found()))))
    yield* TestClock.adjust("0 seconds")
    return counted
  })

/** How many rounds there are in the time. */
const during = (counted: { rounds: number }, time: "4 seconds" | "2 minutes") =>
  Effect.suspend(() => {
    const before = counted.rounds
    return Effect.map(TestClock.adjust(time), () => counted.rounds - before)
  })

describe("makeRounds", () => {
  for (const found of ["something", "failure"] as const) {
    it.effect(`keeps its pace while there is ${found}`, () =>
      Effect.gen(function*() {
        const rounds = yield* counted(() => found)
        assert.strictEqual(rounds.rounds, 1)
        assert.isAtLeast(yield* during(rounds, "2 minutes"), 48)
      }).pipe(Effect.scoped, Effect.provide(MemorySignals.layer)))
  }

  it.effect("goes on less and less often while there is nothing, and never stops", () =>
    Effect.gen(function*() {
      const rounds = yield* counted(() => "nothing")
      assert.isAtMost(yield* during(rounds, "4 seconds"), 1)
      const later = yield* during(rounds, "2 minutes")
      assert.isTrue(later >= 12 && later <= 20, `${later} rounds in two minutes`)
    }).pipe(Effect.scoped, Effect.provide(MemorySignals.layer)))

  it.effect("takes up its pace when there is something again", () =>
    Effect.gen(function*() {
      let found: Found = "nothing"
      const rounds = yield* counted(() => found)
      yield* during(rounds, "2 minutes")
      found = "something"
      yield* TestClock.adjust("10 seconds")
      assert.isAtLeast(yield* during(rounds, "2 minutes"), 48)
    }).pipe(Effect.scoped, Effect.provide(MemorySignals.layer)))

  it.effect("looks soon after a signal, and no more often than its pace while many pass", () =>
    Effect.gen(function*() {
      const signals = yield* Signals
      const rounds = yield* counted(() => "nothing")
      yield* during(rounds, "2 minutes")
      for (let n = 0; n < 20; n++) {
        const before = rounds.rounds
        yield* signals.notify(flowTopic("a" as FlowId))
        yield* TestClock.adjust("2400 millis")
        assert.strictEqual(rounds.rounds - before, 1, `signal ${n}`)
      }
      const before = rounds.rounds
      for (let n = 0; n < 60; n++) {
        yield* signals.notify(flowTopic("a" as FlowId))
        yield* TestClock.adjust("100 millis")
      }
      assert.isAtMost(rounds.rounds - before, 4)
    }).pipe(Effect.scoped, Effect.provide(MemorySignals.layer)))

  it.effect("looks again soon after a signal that came during a round", () =>
    Effect.gen(function*() {
      const signals = yield* Signals
      const [begun, gate] = [yield* Latch.make(), yield* Latch.make()]
      let rounds = 0
      const run = yield* makeRounds({ every: "2 seconds", idle: "1 minute" })
      yield* Effect.forkScoped(
        run(Effect.andThen(Effect.andThen(begun.open, gate.await), Effect.sync((): Found => (rounds++, "nothing"))))
      )
      yield* begun.await
      yield* signals.notify(flowTopic("a" as FlowId))
      yield* gate.open
      yield* TestClock.adjust("2400 millis")
      assert.strictEqual(rounds, 2)
    }).pipe(Effect.scoped, Effect.provide(MemorySignals.layer)))
})
