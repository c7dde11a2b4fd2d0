import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Servers } from "@valetkey/domain/Servers"
import { DateTime, Deferred, Effect, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, layer, Provider } from "./World.ts"

const end = DateTime.makeUnsafe(600_000)

/** A server whose answers say nothing of when a token ends, and that is asked. */
const silent = Effect.gen(function*() {
  const provider = yield* Provider
  const key = yield* keyOf("mcp")
  yield* (yield* Servers).put(key.tenant, key.server, {
    resource: "https://mcp.example/mcp",
    quirks: { introspectExpiry: true }
  })
  provider.answer = ({ expiresAt: _, ...credentials }) => credentials
  return { provider, key }
})

const stored = (key: ConnectionKey) =>
  Effect.map(Effect.flatMap(ConnectionStore, (store) => store.get(key)), Option.getOrThrow)

/** Lets fibers run until nothing more happens without the clock. */
const quiet = Effect.forEach(Array.from({ length: 50 }), () => Effect.yieldNow, { discard: true })

const value = (key: ConnectionKey, rejected?: Redacted.Redacted) =>
  AccessTokens.use((tokens) => tokens.get(key, { rejected }))

describe("An access token whose answer does not say when it ends", () => {
  it.effect("is stored and handed out before anybody asks, and its end is stored when it is learnt", () =>
    Effect.gen(function*() {
      const { key, provider } = yield* silent
      const told = yield* Deferred.make<DateTime.Utc>()
      provider.expiry = Deferred.await(told)
      assert.strictEqual((yield* connect(key)).state, "completed")
      yield* quiet
      assert.deepStrictEqual(provider.introspected, provider.issued)
      assert.isUndefined((yield* stored(key)).credentials.expiresAt)
      assert.strictEqual(Redacted.value((yield* value(key)).accessToken), provider.issued[0])
      yield* Deferred.succeed(told, end)
      yield* quiet
      assert.deepStrictEqual((yield* value(key)).expiresAt, end)
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual(Redacted.value((yield* value(key)).accessToken), provider.issued[1])
    }).pipe(Effect.provide(layer)))

  it.effect("is asked about after a refresh as well, instead of keeping the lifetime of the one before", () =>
    Effect.gen(function*() {
      const { key, provider } = yield* silent
      provider.expiry = Effect.succeed(end)
      yield* connect(key)
      yield* quiet
      yield* TestClock.adjust("10 minutes")
      const later = DateTime.add(end, { minutes: 3 })
      provider.expiry = Effect.succeed(later)
      yield* value(key)
      yield* quiet
      assert.deepStrictEqual(provider.introspected, provider.issued)
      assert.deepStrictEqual((yield* stored(key)).credentials.expiresAt, later)
    }).pipe(Effect.provide(layer)))

  it.effect.each([false, true])(
    "has nothing of what is said of another one, or of a former life: %s",
    (renewed) =>
      Effect.gen(function*() {
        const { key, provider } = yield* silent
        const late = yield* Deferred.make<DateTime.Utc>()
        provider.expiry = Deferred.await(late)
        yield* connect(key)
        yield* quiet
        provider.expiry = Effect.undefined
        if (renewed) {
          yield* Connections.use((connections) => connections.disconnect(key))
          yield* connect(key)
        } else {
          yield* value(key, (yield* value(key)).accessToken)
        }
        yield* quiet
        yield* Deferred.succeed(late, end)
        yield* quiet
        assert.deepStrictEqual(provider.introspected, provider.issued)
        const { credentials, generation } = yield* stored(key)
        assert.strictEqual(generation, 2)
        assert.isUndefined(credentials.expiresAt)
      }).pipe(Effect.provide(layer))
  )

  it.effect("is good without an end where asking hangs or dies, and nobody hangs with it", () =>
    Effect.gen(function*() {
      let over = 0
      const hanging = Effect.onInterrupt(Effect.never, () => Effect.sync(() => over++))
      for (const expiry of [hanging, Effect.die(new Error("broken")), Effect.undefined]) {
        const { key, provider } = yield* silent
        provider.expiry = expiry
        assert.strictEqual((yield* connect(key)).state, "completed")
        yield* TestClock.adjust("10 seconds")
        const token = yield* value(key)
        assert.isUndefined(token.expiresAt)
        yield* value(key, token.accessToken)
        yield* TestClock.adjust("1 minute")
        assert.isUndefined((yield* value(key)).expiresAt)
        assert.deepStrictEqual(provider.introspected, provider.issued)
      }
      assert.strictEqual(over, 2)
    }).pipe(Effect.provide(layer)))

  it.effect("is asked about where the server says so alone, and not where its answer says it", () =>
    Effect.gen(function*() {
      const { key, provider } = yield* silent
      provider.answer = (credentials) => credentials
      yield* connect(key)
      provider.answer = ({ expiresAt: _, ...credentials }) => credentials
      yield* connect(yield* keyOf("plain"))
      yield* quiet
      assert.isEmpty(provider.introspected)
    }).pipe(Effect.provide(layer)))
})
