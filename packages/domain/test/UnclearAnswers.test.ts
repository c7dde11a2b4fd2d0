import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { expired, redemptions } from "./Expired.ts"
import { layer, refuse } from "./World.ts"

describe("an answer that names no error that is known", () => {
  const unclear = () => refuse({ _tag: "Transient", unclear: true })

  it.effect("I1 is the last one after an attempt of unknown outcome: the token may be used up", () =>
    Effect.gen(function*() {
      const { connection, key, provider, tokens } = yield* expired()
      provider.refresh = () => refuse({ _tag: "UnknownOutcome" })
      const asked = yield* Effect.forkChild(Effect.exit(tokens.get(key)))
      yield* Effect.yieldNow.pipe(Effect.repeat({ until: () => redemptions(provider).join() === "1" }))
      provider.refresh = unclear
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(asked)
      yield* TestClock.adjust("1 hour")
      const error = yield* Effect.flip(tokens.get(key))
      assert.strictEqual(error._tag === "TokenError" && error.reason, "unknown_outcome")
      assert.deepStrictEqual(redemptions(provider), [2])
      assert.strictEqual((yield* connection).status._tag, "needs_reauth")
    }).pipe(Effect.provide(layer)))

  it.effect("TOK-19 is asked again where every earlier outcome is known", () =>
    Effect.gen(function*() {
      const { key, provider, tokens } = yield* expired("strict")
      const honest = provider.refresh
      provider.refresh = unclear
      const error = yield* Effect.flip(tokens.get(key))
      assert.strictEqual(error.code, "authorization_server_unavailable")
      yield* TestClock.adjust("2 minutes")
      provider.refresh = honest
      yield* tokens.get(key)
      assert.deepStrictEqual(redemptions(provider), [2])
    }).pipe(Effect.provide(layer)))
})
