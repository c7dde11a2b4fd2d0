import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Scope } from "effect"
import { TestClock } from "effect/testing"
import { makeDeadlines } from "../src/internal/deadlines.ts"

const noted = Effect.gen(function*() {
  const late: Array<string> = []
  const begin = yield* makeDeadlines(Duration.seconds(4))
  return { late, begin: (name: string) => begin(Effect.sync(() => void late.push(name))) }
})

describe("makeDeadlines", () => {
  it.effect("tells each that is late, at its own time, and nobody who ended", () =>
    Effect.scoped(Effect.gen(function*() {
      const { begin, late } = yield* noted
      yield* begin("first")
      yield* TestClock.adjust("1 second")
      const end = yield* begin("ended")
      yield* begin("second")
      yield* TestClock.adjust("2999 millis")
      assert.deepStrictEqual(late, [])
      end()
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(late, ["first"])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(late, ["first", "second"])
    })))

  it.effect("watches again after nothing was under way", () =>
    Effect.scoped(Effect.gen(function*() {
      const { begin, late } = yield* noted
      const end = yield* begin("ended")
      end()
      yield* TestClock.adjust("1 minute")
      yield* begin("later")
      yield* TestClock.adjust("4 seconds")
      assert.deepStrictEqual(late, ["later"])
    })))

  it.effect("keeps the clocks of its callers apart", () =>
    Effect.scoped(Effect.gen(function*() {
      const { begin, late } = yield* noted
      yield* begin("of this clock")
      yield* Effect.provide(begin("of another"), TestClock.layer())
      yield* TestClock.adjust("4 seconds")
      assert.deepStrictEqual(late, ["of this clock"])
    })))

  it.effect("tells nobody any more when its scope is closed", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { begin, late } = yield* Scope.provide(noted, scope)
      yield* begin("first")
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(late, [])
    }))
})
