import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Flows } from "@valetkey/domain/Flows"
import { Servers } from "@valetkey/domain/Servers"
import { Deferred, Effect, Fiber, Latch, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, layer, Provider, refuse } from "./World.ts"

const connected = Effect.fnUntraced(function*(lifetime = 3600) {
  const provider = yield* Provider
  provider.lifetime = lifetime
  const key = yield* keyOf("mcp")
  yield* connect(key)
  return { key, provider, tokens: yield* AccessTokens }
})

const redeemed = (provider: Provider["Service"]) =>
  [...provider.redemptions].filter(([token]) => token.includes("refresh")).map(([, count]) => count)

/** Holds every refresh at the provider until the gate opens. */
const gated = Effect.fnUntraced(function*(provider: Provider["Service"]) {
  const [asked, gate] = [yield* Latch.make(), yield* Deferred.make<void>()]
  const { refresh } = provider
  provider.refresh = (issue, grant) =>
    Effect.andThen(asked.open, Effect.andThen(Deferred.await(gate), refresh(issue, grant)))
  return { asked: asked.await, open: Deferred.succeed(gate, undefined) }
})

describe("a resource that refuses tokens", () => {
  it.effect("S4.53 S4.54 is answered with a refresh each time, also hours after the connection was made", () =>
    Effect.gen(function*() {
      const { key, provider, tokens } = yield* connected(86_400)
      let { accessToken: rejected } = yield* tokens.get(key)
      for (const round of [1, 2, 3]) {
        yield* TestClock.adjust("2 hours")
        const next = yield* tokens.get(key, { rejected })
        assert.strictEqual(Redacted.value(next.accessToken), provider.issued[round])
        rejected = next.accessToken
      }
      assert.deepStrictEqual(redeemed(provider), [1, 1, 1])
    }).pipe(Effect.provide(layer)))

  it.effect("S4.55 S4.57 costs one redemption for all who were refused and all who only read", () =>
    Effect.gen(function*() {
      const { key, provider, tokens } = yield* connected()
      const { accessToken: rejected } = yield* tokens.get(key)
      yield* TestClock.adjust("2 hours")
      const { asked, open } = yield* gated(provider)
      const callers = yield* Effect.forEach(
        [{}, { rejected }, { rejected }, {}, { rejected }],
        (demand) => Effect.forkChild(tokens.get(key, demand), { startImmediately: true })
      )
      yield* asked
      yield* open
      const all = yield* Effect.forEach(callers, Fiber.join)
      assert.deepStrictEqual([...new Set(all.map(({ accessToken }) => Redacted.value(accessToken)))], [
        provider.issued[1]
      ])
      assert.deepStrictEqual(redeemed(provider), [1])
    }).pipe(Effect.provide(layer)))
})

describe("a refresh that fails", () => {
  it.effect("S4.47 tells everyone who waits the same, and those who come later too, without asking again", () =>
    Effect.gen(function*() {
      const { key, provider, tokens } = yield* connected()
      yield* TestClock.adjust("2 hours")
      provider.refresh = () => refuse({ _tag: "Terminal", error: "invalid_grant" })
      const { asked, open } = yield* gated(provider)
      const failure = Effect.map(
        Effect.flip(tokens.get(key)),
        (error) => [error.code, error._tag === "TokenError" ? error.reason : undefined]
      )
      const callers = yield* Effect.forEach(
        [1, 2, 3],
        () => Effect.forkChild(failure, { startImmediately: true })
      )
      yield* asked
      yield* open
      for (const told of [...(yield* Effect.forEach(callers, Fiber.join)), yield* failure]) {
        assert.deepStrictEqual(told, ["reauthorization_required", "refresh_token_rejected"])
      }
      assert.deepStrictEqual(redeemed(provider), [1])
    }).pipe(Effect.provide(layer)))

  it.effect("S4.58 S4.61 S4.79 for want of an answer ends at its deadline, stores nothing and leaves the way to consent free", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      yield* (yield* Servers).put(key.tenant, key.server, {
        resource: "https://mcp.example/mcp",
        quirks: { redemptionPolicy: "strict" }
      })
      yield* connect(key)
      yield* TestClock.adjust("2 hours")
      const provider = yield* Provider
      let aborted = 0
      provider.refresh = () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => void aborted++))
      const caller = yield* Effect.forkChild(Effect.flip((yield* AccessTokens).get(key)), { startImmediately: true })
      yield* TestClock.adjust("60 seconds")
      const ended = caller.pollUnsafe()
      assert.isDefined(ended)
      const error = yield* Fiber.join(caller)
      assert.strictEqual(error.code, "reauthorization_required")
      assert.strictEqual(error._tag === "TokenError" && error.reason, "unknown_outcome")
      assert.strictEqual(aborted, 1)
      const { generation } = Option.getOrThrow(yield* (yield* ConnectionStore).get(key))
      assert.strictEqual(generation, 1)
      assert.strictEqual((yield* (yield* Flows).start(key))._tag, "Started")
    }).pipe(Effect.provide(layer)))
})

describe("a provider that does not rotate", () => {
  it.effect("TOK-09 may give the same refresh token again and again, and nothing of it is lost or revoked", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const same = Redacted.make("the one refresh token")
      provider.answer = (credentials) => ({ ...credentials, refreshToken: same })
      const { key, tokens } = yield* connected()
      for (const round of [1, 2, 3]) {
        yield* TestClock.adjust("2 hours")
        assert.strictEqual(Redacted.value((yield* tokens.get(key)).accessToken), provider.issued[round])
      }
      assert.deepStrictEqual(redeemed(provider), [3])
      assert.deepStrictEqual(provider.revoked, [])
    }).pipe(Effect.provide(layer)))
})
