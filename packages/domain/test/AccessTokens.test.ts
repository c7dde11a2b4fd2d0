import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { Connections } from "@valetkey/domain/Connections"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { Spool } from "@valetkey/domain/Spool"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { Deferred, Duration, Effect, Fiber, Latch, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, layer, Provider, refuse, Vault } from "./World.ts"

const connected = Effect.fnUntraced(function*(slug = "mcp") {
  const key = yield* keyOf(slug)
  yield* connect(key)
  const tokens = yield* AccessTokens
  const value = Effect.map(tokens.get(key), ({ accessToken }) => Redacted.value(accessToken))
  return { key, tokens, value, provider: yield* Provider }
})

const redeemed = (provider: Provider["Service"]) =>
  [...provider.redemptions].filter(([token]) => token.includes("refresh")).map(([, count]) => count)

describe("AccessTokens.get", () => {
  it.effect("S4.45 S4.51 hands out the stored token while it is good, and refreshes silently when it is not", () =>
    Effect.gen(function*() {
      const { provider, value } = yield* connected()
      assert.strictEqual(yield* value, provider.issued[0])
      yield* TestClock.adjust("59 minutes")
      assert.strictEqual(yield* value, provider.issued[0])
      yield* TestClock.adjust("31 seconds")
      assert.strictEqual(yield* value, provider.issued[1])
      assert.strictEqual(yield* value, provider.issued[1])
      assert.deepStrictEqual(redeemed(provider), [1])
    }).pipe(Effect.provide(layer)))

  it.effect("I1 S3x.5 S4.44 REF-01 a thousand callers on an expired token share one redemption and one new token", () =>
    Effect.gen(function*() {
      const { provider, value } = yield* connected()
      const store = yield* ConnectionStore
      const { claim } = store
      let claims = 0
      Object.assign(store, { claim: (...input: Parameters<typeof claim>) => (claims++, claim(...input)) })
      yield* TestClock.adjust("2 hours")
      const [asked, gate] = [yield* Latch.make(), yield* Deferred.make<void>()]
      provider.refresh = (issue) => Effect.andThen(asked.open, Effect.andThen(Deferred.await(gate), issue))
      const callers = yield* Effect.forEach(
        Array.from({ length: 1000 }),
        () => Effect.forkChild(value, { startImmediately: true })
      )
      yield* asked.await
      yield* Effect.yieldNow
      yield* Deferred.succeed(gate, undefined)
      const all = yield* Effect.forEach(callers, Fiber.join)
      assert.deepStrictEqual([...new Set(all)], [provider.issued[1]])
      assert.deepStrictEqual(redeemed(provider), [1])
      assert.strictEqual(claims, 1)
    }).pipe(Effect.provide(layer)))

  it.effect("S4.48 S4.50 REF-10 a rejected token is never handed out again, and forces one refresh", () =>
    Effect.gen(function*() {
      const { key, provider, tokens } = yield* connected()
      const first = yield* tokens.get(key)
      const second = yield* tokens.get(key, { rejected: first.accessToken })
      assert.strictEqual(Redacted.value(second.accessToken), provider.issued[1])
      const late = yield* tokens.get(key, { rejected: first.accessToken })
      assert.strictEqual(late.generation, second.generation)
      assert.deepStrictEqual(redeemed(provider), [1])
    }).pipe(Effect.provide(layer)))

  it.effect("I6 a token rejected while the provider is down stays withheld from everyone", () =>
    Effect.gen(function*() {
      const { key, provider, tokens } = yield* connected()
      const first = yield* tokens.get(key)
      provider.refresh = () => refuse({ _tag: "Transient", retryAfter: Duration.minutes(1) })
      yield* Effect.flip(tokens.get(key, { rejected: first.accessToken }))
      const error = yield* Effect.flip(tokens.get(key))
      assert.strictEqual(error.code, "authorization_server_unavailable")
    }).pipe(Effect.provide(layer)))

  it.effect("REF-06 a caller that goes away does not stop the refresh", () =>
    Effect.gen(function*() {
      const { provider, value } = yield* connected()
      yield* TestClock.adjust("2 hours")
      const [asked, gate] = [yield* Latch.make(), yield* Deferred.make<void>()]
      provider.refresh = (issue) => Effect.andThen(asked.open, Effect.andThen(Deferred.await(gate), issue))
      const caller = yield* Effect.forkChild(value)
      yield* asked.await
      yield* Fiber.interrupt(caller)
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual(yield* value, provider.issued[1])
      assert.deepStrictEqual(redeemed(provider), [1])
    }).pipe(Effect.provide(layer)))

  it.effect("I7 an impatient caller is told to retry, and the refresh goes on", () =>
    Effect.gen(function*() {
      const { key, provider, tokens, value } = yield* connected()
      yield* TestClock.adjust("2 hours")
      const gate = yield* Deferred.make<void>()
      provider.refresh = (issue) => Effect.andThen(Deferred.await(gate), issue)
      const impatient = yield* Effect.forkChild(Effect.flip(tokens.get(key, { patience: "10 seconds" })))
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(impatient)).code, "refresh_in_progress")
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual(yield* value, provider.issued[1])
    }).pipe(Effect.provide(layer)))

  it.effect("TOK-08 a refresh answer without refresh token or scope keeps the old ones", () =>
    Effect.gen(function*() {
      const { key, provider, value } = yield* connected()
      provider.answer = ({ refreshToken: _, scopes: __, ...credentials }) => credentials
      for (let round = 1; round <= 3; round++) {
        yield* TestClock.adjust("2 hours")
        assert.strictEqual(yield* value, provider.issued[round])
      }
      const connection = Option.getOrThrow(yield* (yield* ConnectionStore).get(key))
      assert.deepStrictEqual(connection.credentials.scopes, ["read"])
      assert.deepStrictEqual(redeemed(provider), [3])
    }).pipe(Effect.provide(layer)))

  it.effect("I5 S4.49 S4.56 only a refusal of the current refresh token asks the person again", () =>
    Effect.gen(function*() {
      const { provider, value } = yield* connected()
      yield* TestClock.adjust("2 hours")
      provider.refresh = () => refuse({ _tag: "Transient" })
      assert.strictEqual((yield* Effect.flip(value)).code, "authorization_server_unavailable")
      yield* TestClock.adjust("1 minute")
      provider.refresh = () => refuse({ _tag: "Configuration", error: "invalid_client" })
      assert.strictEqual((yield* Effect.flip(value)).code, "client_misconfigured")
      yield* TestClock.adjust("2 minutes")
      provider.refresh = (issue) => issue
      assert.strictEqual(yield* value, provider.issued[1])
      yield* TestClock.adjust("2 hours")
      provider.refresh = () => refuse({ _tag: "Terminal", error: "invalid_grant" })
      const error = yield* Effect.flip(value)
      assert.deepStrictEqual(error._tag === "TokenError" && [error.code, error.reason], [
        "reauthorization_required",
        "refresh_token_rejected"
      ])
    }).pipe(Effect.provide(layer)))

  it.effect("S4.49 S4.52 a connection without refresh token asks again only when its token is over", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      provider.answer = ({ refreshToken: _, ...credentials }) => credentials
      const { key, value } = yield* connected()
      assert.strictEqual(yield* value, provider.issued[0])
      yield* TestClock.adjust("2 hours")
      const error = yield* Effect.flip(value)
      assert.strictEqual(error._tag === "TokenError" && error.reason, "no_refresh_token")
      yield* connect(key)
      assert.strictEqual(yield* value, provider.issued[1])
    }).pipe(Effect.provide(layer)))

  it.effect("I1 retry-once: an unknown outcome is tried once more, then the person is asked", () =>
    Effect.gen(function*() {
      const { provider, value } = yield* connected()
      yield* TestClock.adjust("2 hours")
      provider.refresh = () => refuse({ _tag: "UnknownOutcome" })
      const caller = yield* Effect.forkChild(Effect.flip(value))
      yield* TestClock.adjust("2 seconds")
      const error = yield* Fiber.join(caller)
      assert.strictEqual(error._tag === "TokenError" && error.reason, "unknown_outcome")
      assert.deepStrictEqual(redeemed(provider), [2])
    }).pipe(Effect.provide(layer)))

  it.effect("retry-once: the second attempt may succeed and nobody notices", () =>
    Effect.gen(function*() {
      const { provider, value } = yield* connected()
      yield* TestClock.adjust("2 hours")
      let lost = 1
      provider.refresh = (issue) => lost-- > 0 ? refuse({ _tag: "UnknownOutcome" }) : issue
      const caller = yield* Effect.forkChild(value)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* Fiber.join(caller), provider.issued[1])
    }).pipe(Effect.provide(layer)))

  it.effect("I4 S4.46 S4.75 REF-07 a refresh that comes late does not overwrite what a new consent stored", () =>
    Effect.gen(function*() {
      const { key, provider, tokens, value } = yield* connected()
      const points = yield* InjectionPoints
      yield* TestClock.adjust("2 hours")
      yield* points.pause("refresh.response_received")
      const late = yield* Effect.forkChild(value)
      yield* points.awaitReached("refresh.response_received")
      yield* connect(key)
      const consented = provider.issued.at(-1)
      yield* points.release("refresh.response_received")
      assert.strictEqual(yield* Fiber.join(late), consented)
      assert.strictEqual(yield* value, consented)
      yield* (yield* Housekeeping).revoke
      assert.deepStrictEqual(provider.revoked, [])
      const rejected = (yield* tokens.get(key)).accessToken
      const healed = yield* tokens.get(key, { rejected })
      assert.strictEqual(Redacted.value(healed.accessToken), provider.issued.at(-1))
      assert.notStrictEqual(provider.issued.at(-1), consented)
    }).pipe(Effect.provide(layer)))

  it.effect("S3x.6 REF-09 the loser of a race does not mark what the winner stored", () =>
    Effect.gen(function*() {
      const { key, provider, value } = yield* connected()
      const points = yield* InjectionPoints
      yield* TestClock.adjust("2 hours")
      provider.refresh = () => refuse({ _tag: "Terminal", error: "invalid_grant" })
      yield* points.pause("refresh.response_received")
      const loser = yield* Effect.forkChild(value)
      yield* points.awaitReached("refresh.response_received")
      yield* connect(key)
      yield* points.release("refresh.response_received")
      assert.strictEqual(yield* Fiber.join(loser), provider.issued.at(-1))
    }).pipe(Effect.provide(layer)))

  it.effect("I23 S3x.10 S3x.11 REF-18 a result that arrives after the disconnect resurrects nothing and is revoked", () =>
    Effect.gen(function*() {
      const { key, provider, value } = yield* connected()
      const points = yield* InjectionPoints
      yield* TestClock.adjust("2 hours")
      yield* points.pause("refresh.response_received")
      const late = yield* Effect.forkChild(Effect.flip(value))
      yield* points.awaitReached("refresh.response_received")
      yield* (yield* Connections).disconnect(key)
      assert.strictEqual((yield* Effect.flip(value)).code, "connection_not_found")
      yield* points.release("refresh.response_received")
      assert.strictEqual((yield* Fiber.join(late)).code, "connection_not_found")
      assert.strictEqual((yield* Effect.flip(value)).code, "connection_not_found")
      yield* (yield* Housekeeping).revoke
      assert.includeMembers(provider.revoked, provider.issued)
      assert.isTrue(Option.isNone(yield* (yield* ConnectionStore).get(key)))
    }).pipe(Effect.provide(layer)))

  it.effect("I14 without the key nothing is claimed, nothing is sent, and the connection stays active", () =>
    Effect.gen(function*() {
      const { provider, value } = yield* connected()
      const vault = yield* Vault
      yield* TestClock.adjust("2 hours")
      vault.locked = true
      assert.strictEqual((yield* Effect.flip(value)).code, "encryption_key_missing")
      assert.deepStrictEqual(redeemed(provider), [])
      vault.locked = false
      assert.strictEqual(yield* value, provider.issued[1])
    }).pipe(Effect.provide(layer)))

  it.effect("nothing is sent when a pause ate the lease between marking and sending", () =>
    Effect.gen(function*() {
      const { provider, value } = yield* connected()
      const points = yield* InjectionPoints
      yield* TestClock.adjust("2 hours")
      yield* points.pause("refresh.sent", { times: 1 })
      const caller = yield* Effect.forkChild(value)
      yield* points.awaitReached("refresh.sent")
      yield* TestClock.adjust("50 seconds")
      assert.deepStrictEqual(redeemed(provider), [])
      yield* points.release("refresh.sent")
      assert.strictEqual(yield* Fiber.join(caller), provider.issued[1])
      assert.deepStrictEqual(redeemed(provider), [1])
      assert.strictEqual(yield* points.count("refresh.claimed"), 2)
    }).pipe(Effect.provide(layer)))

  it.effect("I3 DB-03 credentials that the store cannot take stay in the spool and are adopted later", () =>
    Effect.gen(function*() {
      const { key, provider, value } = yield* connected()
      const points = yield* InjectionPoints
      yield* TestClock.adjust("2 hours")
      yield* points.pause("refresh.before_commit")
      yield* Effect.forkChild(value)
      yield* points.awaitReached("refresh.before_commit")
      assert.strictEqual((yield* (yield* Spool).list).length, 1)
      // The process that redeemed hangs; another one finds the entry.
      assert.strictEqual(yield* (yield* Housekeeping).replay, 1)
      assert.strictEqual(Redacted.value((yield* (yield* AccessTokens).get(key)).accessToken), provider.issued[1])
      yield* points.release("refresh.before_commit")
      assert.strictEqual(yield* value, provider.issued[1])
      assert.deepStrictEqual(redeemed(provider), [1])
    }).pipe(Effect.provide(layer)))

  it.effect("closing the application waits for the refresh under way", () =>
    Effect.gen(function*() {
      const order: Array<string> = []
      yield* Effect.scoped(
        Effect.gen(function*() {
          const { provider, value } = yield* connected()
          yield* TestClock.adjust("2 hours")
          const [asked, gate] = [yield* Latch.make(), yield* Deferred.make<void>()]
          provider.refresh = (issue) =>
            Effect.gen(function*() {
              yield* asked.open
              yield* Deferred.await(gate)
              order.push("refreshed")
              return yield* issue
            })
          yield* Effect.forkChild(value)
          yield* asked.await
          yield* Effect.forkDetach(Deferred.succeed(gate, undefined))
        }).pipe(Effect.provide(layer))
      )
      order.push("closed")
      assert.deepStrictEqual(order, ["refreshed", "closed"])
    }))
})
