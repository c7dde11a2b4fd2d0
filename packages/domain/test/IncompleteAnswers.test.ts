import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { notYet } from "@valetkey/domain/Credentials"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { Duration, Effect, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, layer, Provider } from "./World.ts"

/** A connection whose provider rotates the refresh token at the next refresh and forgets the access token. */
const forgetful = Effect.gen(function*() {
  const key = yield* keyOf("mcp")
  yield* connect(key)
  const [provider, tokens, store] = [yield* Provider, yield* AccessTokens, yield* ConnectionStore]
  yield* TestClock.adjust("2 hours")
  const rotated: Array<string> = []
  provider.refresh = (issue) =>
    Effect.map(issue, (credentials) => {
      rotated.push(Redacted.value(credentials.refreshToken!))
      return { ...credentials, accessToken: Redacted.make(""), expiresAt: notYet }
    })
  const generation = Effect.map(store.get(key), (found) => {
    const { generation, status } = Option.getOrThrow(found)
    return `${status._tag} ${generation}`
  })
  return { key, provider, rotated, generation, get: tokens.get(key) }
})

describe("an answer with a new refresh token and no access token", () => {
  it.effect("TOK-25 I3 loses neither: the new one is kept, nobody is asked, and a minute later it is redeemed", () =>
    Effect.gen(function*() {
      const { generation, get, provider, rotated } = yield* forgetful
      for (const _ of ["asked", "told without asking"]) {
        const error = yield* Effect.flip(get)
        assert.strictEqual(error.code, "authorization_server_unavailable")
        assert.deepStrictEqual(error._tag === "TokenError" && error.retryAfter, Duration.minutes(1))
      }
      assert.strictEqual(rotated.length, 1)
      assert.strictEqual(yield* generation, "active 2")
      provider.refresh = (issue) => issue
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(Redacted.value((yield* get).accessToken), provider.issued.at(-1))
      assert.strictEqual(provider.redemptions.get(rotated[0]!), 1)
      assert.strictEqual(yield* generation, "active 3")
    }).pipe(Effect.provide(layer)))

  it.effect("TOK-25 is asked for again once in a minute, however long it goes on and however many call", () =>
    Effect.gen(function*() {
      const { generation, get, rotated } = yield* forgetful
      for (let minute = 1; minute <= 5; minute++) {
        yield* Effect.all(Array.from({ length: 10 }, () => Effect.flip(get)), { concurrency: "unbounded" })
        yield* Effect.flip(get)
        assert.strictEqual(rotated.length, minute)
        yield* TestClock.adjust("1 minute")
      }
      assert.strictEqual(yield* generation, "active 6")
    }).pipe(Effect.provide(layer)))

  it.effect("TOK-25 gives the token that follows it no lifetime, where the provider does not say one", () =>
    Effect.gen(function*() {
      const { get, provider, rotated } = yield* forgetful
      yield* Effect.flip(get)
      provider.refresh = (issue) => Effect.map(issue, (credentials) => ({ ...credentials, expiresAt: undefined }))
      yield* TestClock.adjust("1 minute")
      for (let call = 0; call < 3; call++) {
        const token = yield* get
        assert.deepStrictEqual([Redacted.value(token.accessToken), token.expiresAt], [
          provider.issued.at(-1),
          undefined
        ])
        yield* TestClock.adjust("1 hour")
      }
      assert.deepStrictEqual([rotated.length, provider.issued.length], [1, 3])
    }).pipe(Effect.provide(layer)))

  it.effect("TOK-25 I3 is adopted from the spool when the process that got it dies", () =>
    Effect.gen(function*() {
      const { generation, get, provider, rotated } = yield* forgetful
      const points = yield* InjectionPoints
      yield* points.pause("refresh.before_commit", { times: 1 })
      yield* Effect.forkChild(Effect.exit(get))
      yield* points.awaitReached("refresh.before_commit")
      assert.strictEqual(yield* (yield* Housekeeping).replay, 1)
      assert.strictEqual(yield* generation, "active 2")
      yield* points.release("refresh.before_commit")
      yield* Effect.flip(get)
      provider.refresh = (issue) => issue
      yield* TestClock.adjust("1 minute")
      yield* get
      assert.strictEqual(provider.redemptions.get(rotated.at(-1)!), 1)
    }).pipe(Effect.provide(layer)))
})
