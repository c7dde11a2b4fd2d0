import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import type { RedemptionPolicy } from "@valetkey/domain/Server"
import { Servers } from "@valetkey/domain/Servers"
import { Duration, Effect, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, Provider } from "./World.ts"

/** A connection whose access token is over, and the store as the test may break it. */
export const expired = Effect.fnUntraced(function*(redemptionPolicy: RedemptionPolicy = "retry-once") {
  const key = yield* keyOf("mcp")
  yield* (yield* Servers).put(key.tenant, key.server, {
    resource: "https://mcp.example/mcp",
    quirks: { redemptionPolicy }
  })
  yield* connect(key)
  yield* TestClock.adjust("2 hours")
  const tokens = yield* AccessTokens
  const store = yield* ConnectionStore
  return {
    key,
    store,
    tokens,
    real: { ...store },
    provider: yield* Provider,
    value: Effect.map(tokens.get(key), ({ accessToken }) => Redacted.value(accessToken)),
    connection: Effect.map(store.get(key), Option.getOrThrow)
  }
})

/** How often each refresh token was redeemed. */
export const redemptions = (provider: Provider["Service"]) =>
  [...provider.redemptions].filter(([token]) => token.includes("refresh")).map(([, count]) => count)

/** Runs, and lets the clock go on until it is done. */
export const inTime = <A, E, R>(effect: Effect.Effect<A, E, R>, atMost: Duration.Input) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
    yield* TestClock.adjust(atMost)
    const exit = fiber.pollUnsafe()
    return exit === undefined
      ? yield* Effect.die(`not done after ${Duration.format(Duration.fromInputUnsafe(atMost))}`)
      : yield* exit
  })
