import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Context, Deferred, Duration, Effect, Exit, Fiber, Layer, Option, Scope } from "effect"
import { TestClock } from "effect/testing"
import { expired, quiet, shared } from "./Paced.ts"
import { layerWith, Provider, refuse } from "./World.ts"

/** A process on the store of the test, and what ends it. */
const process = Effect.fnUntraced(function*(options?: Parameters<typeof AccessTokens.layer>[0]) {
  const scope = yield* Scope.make()
  const context = yield* Scope.provide(Layer.build(Layer.fresh(AccessTokens.layer(options))), scope)
  return { tokens: Context.get(context, AccessTokens), close: Scope.close(scope, Exit.void) }
})

describe("an application that closes", () => {
  it.effect("waits for the redemption under way, and those that wait for a slot send nothing any more", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const store = yield* ConnectionStore
      const honest = provider.refresh
      const gate = yield* Deferred.make<void>()
      let sent = 0
      provider.refresh = (issue, grant) =>
        Effect.suspend(() => {
          sent++
          return Effect.tap(honest(issue, grant), Deferred.await(gate))
        })
      const { close, tokens } = yield* process({ caps: [{ endpoint: shared, cap: 1 }] })
      const keys = yield* Effect.forEach([0, 1, 2, 3], (index) => expired(`k-${index}`, { redemptionPolicy: "strict" }))
      const calls = yield* Effect.forEach(
        keys,
        (key) => Effect.forkChild(Effect.result(tokens.get(key)), { startImmediately: true })
      )
      yield* quiet
      assert.strictEqual(sent, 1)
      const closing = yield* Effect.forkChild(close, { startImmediately: true })
      yield* quiet
      assert.isUndefined(closing.pollUnsafe())
      yield* Deferred.succeed(gate, undefined)
      yield* quiet
      yield* Fiber.join(closing)
      const outcomes = yield* Effect.forEach(calls, Fiber.join)
      assert.deepStrictEqual(
        outcomes.map((outcome) => outcome._tag === "Success" ? "token" : outcome.failure.code).toSorted(),
        ["refresh_in_progress", "refresh_in_progress", "refresh_in_progress", "token"]
      )
      for (const outcome of outcomes) {
        if (outcome._tag === "Failure") {
          assert.isDefined(outcome.failure._tag === "TokenError" ? outcome.failure.retryAfter : undefined)
        }
      }
      assert.strictEqual(sent, 1)
      // The next process finds nothing that was sent and never answered.
      provider.refresh = honest
      const next = yield* process()
      for (const key of keys) {
        yield* next.tokens.get(key)
        assert.strictEqual(Option.getOrThrow(yield* store.get(key)).generation, 2)
      }
      yield* next.close
    }).pipe(Effect.provide(layerWith())))

  it.effect("ends the wait for a pause that the provider asked for, and sends nothing after it", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const honest = provider.refresh
      const { close, tokens } = yield* process()
      const [first, second] = [yield* expired("a"), yield* expired("b")]
      provider.refresh = () => refuse({ _tag: "Transient", retryAfter: Duration.millis(1900) })
      yield* Effect.flip(tokens.get(first))
      let sent = 0
      provider.refresh = (issue, grant) => Effect.tap(honest(issue, grant), Effect.sync(() => sent++))
      const call = yield* Effect.forkChild(Effect.flip(tokens.get(second)), { startImmediately: true })
      yield* quiet
      yield* close
      assert.strictEqual((yield* Fiber.join(call)).code, "refresh_in_progress")
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(sent, 0)
    }).pipe(Effect.provide(layerWith())))
})
