import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import type { RedemptionFailure } from "@valetkey/domain/AuthorizationServer"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Histories } from "@valetkey/domain/Histories"
import type { RedemptionPolicy } from "@valetkey/domain/Server"
import { Servers } from "@valetkey/domain/Servers"
import { Duration, Effect, Fiber, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, layer, Provider, refuse } from "./World.ts"

const expired = Effect.fnUntraced(function*(redemptionPolicy: RedemptionPolicy) {
  const key = yield* keyOf("mcp")
  yield* (yield* Servers).put(key.tenant, key.server, {
    resource: "https://mcp.example/mcp",
    quirks: { redemptionPolicy }
  })
  yield* connect(key)
  yield* TestClock.adjust("2 hours")
  return key
})

const told = Effect.fnUntraced(function*(key: Parameters<Histories["Service"]["of"]>[0]) {
  const { events } = yield* (yield* Histories).of(key, { before: undefined, limit: 10 })
  return events.filter(({ action }) => action !== "flow.started" && action !== "flow.settled")
    .map(({ action, answer, generation, outcome }) => [action, outcome, generation, answer])
})

const failing = (reason: RedemptionFailure) => () => refuse(reason)

describe("the reason why a person is asked", () => {
  it.effect("is recorded once with the provider's answer, however many wait for the token", () =>
    Effect.gen(function*() {
      const key = yield* expired("retry-once")
      const provider = yield* Provider
      provider.refresh = failing({ _tag: "Terminal", error: "invalid_grant" })
      const get = Effect.exit((yield* AccessTokens).get(key))
      yield* Effect.all([get, get, get], { concurrency: "unbounded" })
      yield* get
      assert.deepStrictEqual(yield* told(key), [
        ["connection.needs_consent", "refresh_token_rejected", 1, undefined],
        ["token.refresh_failed", "Terminal", 1, "invalid_grant"]
      ])
    }).pipe(Effect.provide(histories)))

  it.effect("is an outcome that nobody knows, and not recorded before that is settled", () =>
    Effect.gen(function*() {
      const key = yield* expired("retry-once")
      const provider = yield* Provider
      provider.refresh = failing({ _tag: "UnknownOutcome" })
      const get = yield* Effect.forkChild(Effect.exit((yield* AccessTokens).get(key)))
      yield* TestClock.adjust("30 seconds")
      yield* Fiber.join(get)
      assert.deepStrictEqual(yield* told(key), [
        ["connection.needs_consent", "unknown_outcome", 1, undefined],
        ["token.refresh_failed", "UnknownOutcome", 1, undefined],
        ["token.refresh_failed", "UnknownOutcome", 1, undefined]
      ])
    }).pipe(Effect.provide(histories)))

  it.effect("is told of by whoever finds what a process left that ended while its request was under way", () =>
    Effect.gen(function*() {
      const key = yield* expired("strict")
      const store = yield* ConnectionStore
      const { epoch, generation } = Option.getOrThrow(yield* store.get(key))
      const lease = Duration.minutes(1)
      const claim = yield* store.claim(key, { epoch, generation, policy: "strict", lease })
      if (claim._tag !== "Claimed") return assert.fail(claim._tag)
      yield* store.markSent(key, { epoch, generation, fence: claim.fence, lease })
      yield* TestClock.adjust("2 minutes")
      const get = Effect.exit((yield* AccessTokens).get(key))
      yield* Effect.all([get, get], { concurrency: "unbounded" })
      assert.deepStrictEqual(yield* told(key), [["connection.needs_consent", "unknown_outcome", 1, undefined]])
    }).pipe(Effect.provide(histories)))

  it.effect("is not there while a refresh may still succeed", () =>
    Effect.gen(function*() {
      const key = yield* expired("retry-once")
      const provider = yield* Provider
      for (const reason of [{ _tag: "Transient" }, { _tag: "Configuration", error: "invalid_client" }] as const) {
        provider.refresh = failing(reason)
        yield* Effect.exit((yield* AccessTokens).get(key))
        yield* TestClock.adjust("5 minutes")
      }
      assert.deepStrictEqual(yield* told(key), [
        ["token.refresh_failed", "Configuration", 1, "invalid_client"],
        ["token.refresh_failed", "Transient", 1, undefined]
      ])
    }).pipe(Effect.provide(histories)))
})

const histories = Layer.provideMerge(Histories.layer, layer)
