import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { Duration, Effect, Fiber, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { expired, replica } from "./Paced.ts"
import { connect, keyOf, layer, Provider, refuse } from "./World.ts"

type Demand = Parameters<AccessTokens["Service"]["get"]>[1]

/** What a caller is told: the token, or why there is none. */
const told = (tokens: AccessTokens["Service"], key: ConnectionKey, demand?: Demand) =>
  Effect.match(tokens.get(key, demand), {
    onSuccess: ({ accessToken }) => Redacted.value(accessToken),
    onFailure: (error) => error._tag === "TokenError" && error.reason !== undefined ? error.reason : error.code
  })

/** What so many callers are told who come at once, each answer once. */
const crowd = (count: number, tokens: ReadonlyArray<AccessTokens["Service"]>, key: ConnectionKey, demand?: Demand) =>
  Effect.forkChild(
    Effect.map(
      Effect.forEach(Array.from({ length: count }), (_, index) => told(tokens[index % tokens.length]!, key, demand), {
        concurrency: "unbounded"
      }),
      (answers) => [...new Set(answers)]
    ),
    { startImmediately: true }
  )

const two = Effect.all([AccessTokens, replica()])

/** How often each refresh token arrived. */
const redeemed = (provider: Provider["Service"]) =>
  [...provider.redemptions].filter(([token]) => token.includes("refresh")).map(([, count]) => count)

const stateOf = (key: ConnectionKey) => Effect.map(ConnectionStore.use((store) => store.get(key)), Option.getOrThrow)

describe("a provider that is slow", () => {
  it.effect("REF-04 redeems once for everybody on two replicas, however much of its deadline it takes", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const tokens = yield* two
      for (const [index, seconds] of [3, 12, 29].entries()) {
        const key = yield* expired(`mcp-${seconds}`)
        provider.refresh = (issue) => Effect.delay(issue, Duration.seconds(seconds))
        const callers = yield* crowd(20, tokens, key)
        yield* TestClock.adjust(Duration.seconds(seconds + 2))
        assert.deepStrictEqual(yield* Fiber.join(callers), [provider.issued[index]])
      }
      assert.deepStrictEqual(redeemed(provider), [1, 1, 1])
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("REF-04 redeems once beyond its deadline as well, where nobody may ask twice", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const key = yield* expired("mcp", { redemptionPolicy: "strict" })
      provider.refresh = (issue) => Effect.delay(issue, "35 seconds")
      const callers = yield* crowd(20, yield* two, key)
      yield* TestClock.adjust("35 seconds")
      assert.deepStrictEqual(yield* Fiber.join(callers), ["unknown_outcome"])
      assert.deepStrictEqual(redeemed(provider), [1])
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("REF-05 that hangs holds a caller for its patience and the connection for its deadlines, and no longer", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const tokens = yield* two
      const key = yield* expired("mcp")
      provider.refresh = () => Effect.never
      const impatient = yield* crowd(20, tokens, key, { patience: "10 seconds" })
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* Fiber.join(impatient), ["refresh_in_progress"])
      provider.refresh = (issue) => issue
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* Fiber.join(yield* crowd(20, tokens, key)), [provider.issued[0]])
      assert.deepStrictEqual(redeemed(provider), [2])
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("REF-08 answers a process that stood still: its result is adopted after another one gave up", () =>
    Effect.gen(function*() {
      const [points, provider] = [yield* InjectionPoints, yield* Provider]
      const [one, other] = yield* two
      const key = yield* expired("mcp")
      yield* points.pause("refresh.response_received", { times: 1 })
      const late = yield* Effect.forkChild(told(one, key, { patience: "1 hour" }), { startImmediately: true })
      yield* points.awaitReached("refresh.response_received")
      provider.refresh = () => refuse({ _tag: "Terminal", error: "invalid_grant" })
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual(yield* told(other, key), "unknown_outcome")
      yield* points.release("refresh.response_received")
      assert.strictEqual(yield* Fiber.join(late), provider.issued[0])
      const { generation, status } = yield* stateOf(key)
      assert.deepStrictEqual([generation as number, status._tag], [2, "active"])
      assert.strictEqual(yield* told(other, key), provider.issued[0])
      assert.deepStrictEqual(redeemed(provider), [2])
    }).pipe(Effect.scoped, Effect.provide(layer)))
})

describe("a provider that is away", () => {
  it.effect("TOK-20 for five minutes is asked ever less often, costs no consent, and is found again by who asks", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const tokens = yield* two
      const key = yield* expired("mcp")
      const asked: Array<number> = []
      const callers: Array<Effect.Success<ReturnType<typeof crowd>>> = []
      for (let minute = 0; minute < 5; minute++) {
        provider.refresh = () => Effect.andThen(Effect.sync(() => asked[minute] = (asked[minute] ?? 0) + 1), away)
        for (let second = 0; second < 60; second++) {
          callers.push(yield* crowd(4, tokens, key))
          yield* TestClock.adjust("1 second")
        }
      }
      yield* TestClock.adjust("80 seconds")
      const answers = (yield* Effect.forEach(callers, Fiber.join)).flat()
      assert.deepStrictEqual([...new Set(answers)], ["authorization_server_unavailable"])
      assert.isAtMost(asked[0]!, 10)
      for (const count of asked.slice(1)) assert.isAtMost(count, 2)
      assert.strictEqual((yield* stateOf(key)).status._tag, "active")
      provider.refresh = (issue) => issue
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* Fiber.join(yield* crowd(4, tokens, key)), [provider.issued[0]])
    }).pipe(Effect.scoped, Effect.provide(layer)))
})

const away = refuse({ _tag: "Transient" })

describe("a provider that has ended the grant", () => {
  it.effect("REF-17 TOK-17 is not asked again by a thousand callers, whatever they want and however late they come", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const tokens = yield* two
      const key = yield* keyOf("mcp")
      yield* connect(key)
      const { accessToken: rejected } = yield* tokens[0].get(key)
      provider.refresh = () => refuse({ _tag: "Terminal", error: "invalid_grant" })
      assert.strictEqual(yield* told(tokens[0], key, { rejected }), "refresh_token_rejected")
      provider.refresh = (issue) => issue
      for (const demand of [{}, { rejected }, { minValidity: "2 hours" }, { patience: "1 second" }] as const) {
        const callers = yield* crowd(250, tokens, key, demand)
        assert.deepStrictEqual(yield* Fiber.join(callers), ["refresh_token_rejected"])
        yield* TestClock.adjust("1 hour")
      }
      assert.deepStrictEqual(redeemed(provider), [1])
      yield* connect(key)
      assert.strictEqual(yield* told(tokens[1], key), provider.issued[1])
    }).pipe(Effect.scoped, Effect.provide(layer)))
})

describe("a provider that says little", () => {
  it.effect("TOK-01 of how long a token lives is asked for another one only when the resource refuses it", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      provider.answer = ({ expiresAt: _, ...credentials }) => credentials
      const tokens = yield* AccessTokens
      const key = yield* keyOf("mcp")
      yield* connect(key)
      for (let look = 0; look < 100; look++) {
        const token = yield* tokens.get(key)
        assert.deepStrictEqual([Redacted.value(token.accessToken), token.expiresAt], [provider.issued[0], undefined])
        yield* TestClock.adjust("15 minutes")
      }
      assert.deepStrictEqual(redeemed(provider), [])
      const { accessToken: rejected } = yield* tokens.get(key)
      assert.strictEqual(yield* told(tokens, key, { rejected }), provider.issued[1])
      assert.deepStrictEqual(redeemed(provider), [1])
    }).pipe(Effect.provide(layer)))
})

describe("a resource that refuses a token that is not over", () => {
  it.effect("REF-11 costs one redemption for a thousand callers on two replicas", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const tokens = yield* two
      const key = yield* keyOf("mcp")
      yield* connect(key)
      const { accessToken: rejected } = yield* tokens[0].get(key)
      provider.refresh = (issue) => Effect.delay(issue, "1 second")
      const callers = yield* crowd(1000, tokens, key, { rejected })
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(yield* Fiber.join(callers), [provider.issued[1]])
      assert.deepStrictEqual(redeemed(provider), [1])
    }).pipe(Effect.scoped, Effect.provide(layer)))
})
