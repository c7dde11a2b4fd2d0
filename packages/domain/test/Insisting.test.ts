import { assert, describe, it } from "@effect/vitest"
import { Deadlines } from "@valetkey/domain/Deadlines"
import { StoreError } from "@valetkey/domain/StoreError"
import { Clock, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { makeInsisting } from "../src/internal/insisting.ts"
import { persist } from "../src/internal/storing.ts"

const unavailable = new StoreError({ code: "store_unavailable", operation: "test" })

/** The pauses before the first three repetitions of a write that a store refuses, in milliseconds. */
const pausesOf = Effect.fnUntraced(
  function*(insist: (write: Effect.Effect<never, StoreError>) => Effect.Effect<unknown, unknown>) {
    const times: Array<number> = []
    const write = Effect.andThen(
      Effect.tap(Clock.currentTimeMillis, (now) => Effect.sync(() => times.push(now))),
      Effect.fail(unavailable)
    )
    const fiber = yield* Effect.forkChild(insist(write), { startImmediately: true })
    while (times.length < 4) yield* TestClock.adjust("1 milli")
    yield* Fiber.interrupt(fiber)
    return times.slice(1).map((time, index) => time - times[index]!)
  }
)

describe("a write that may not be lost", () => {
  for (const [name, insist] of [["of a refresh", makeInsisting(Deadlines.standard)], ["of a flow", persist]] as const) {
    it.effect(`${name} comes back after growing pauses, and not together with those that failed with it`, () =>
      Effect.gen(function*() {
        const runs = yield* Effect.forEach(Array.from({ length: 20 }), () => pausesOf(insist))
        for (const pauses of runs) {
          for (const [index, pause] of pauses.entries()) {
            const middle = 50 * 2 ** index
            assert.isTrue(pause >= middle * 0.8 && pause <= middle * 1.2 + 1, `${pause} for ${middle}`)
          }
        }
        for (const index of [0, 1, 2]) assert.isAbove(new Set(runs.map((pauses) => pauses[index])).size, 3)
      }))
  }
})
