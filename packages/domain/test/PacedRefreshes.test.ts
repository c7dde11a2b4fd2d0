import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { threshold } from "@valetkey/domain/Pacing"
import { PacingStore } from "@valetkey/domain/PacingStore"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { DateTime, Duration, Effect, Fiber, Latch, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { expired, quiet, replica, shared } from "./Paced.ts"
import { connect, keyOf, layerWith, Provider, refuse } from "./World.ts"

const other = "https://other.example"
const cap = 4
const layer = layerWith()
const layerCapped = layerWith({ caps: [{ endpoint: shared, cap }] })

const many = (count: number, name: string, input: { at?: string; tenant?: string } = {}) =>
  Effect.forEach(Array.from({ length: count }), (_, index) => expired(`${name}-${index}`, input))

/** The provider with its requests counted, and held while the gate is shut. */
const observed = Effect.gen(function*() {
  const provider = yield* Provider
  const seen = { open: 0, most: 0, total: 0, order: [] as Array<string> }
  const gate = yield* Latch.make(true)
  provider.refresh = (issue, grant) =>
    Effect.suspend(() => {
      seen.total++
      seen.most = Math.max(seen.most, ++seen.open)
      seen.order.push(grant.issuer)
      return Effect.ensuring(Effect.andThen(gate.await, issue), Effect.sync(() => seen.open--))
    })
  return { provider, seen, gate }
})

const settled = (tokens: AccessTokens["Service"], key: ConnectionKey) =>
  Effect.match(tokens.get(key), {
    onSuccess: () => "token",
    onFailure: (error) => error.code
  })

const all = (tokens: AccessTokens["Service"], keys: ReadonlyArray<ConnectionKey>) =>
  Effect.forkChild(Effect.forEach(keys, (key) => settled(tokens, key), { concurrency: "unbounded" }), {
    startImmediately: true
  })

describe("an endpoint that asks for a pause", () => {
  it.effect("TOK-21 gets it from every replica and every connection of the tenant, and from no other tenant", () =>
    Effect.gen(function*() {
      const { provider, seen } = yield* observed
      const [one, second] = [yield* AccessTokens, yield* replica()]
      const [first, next, stranger] = [
        yield* expired("a"),
        yield* expired("b"),
        yield* expired("a", { tenant: "umbrella" })
      ]
      // The other replica knows it as well from before.
      assert.strictEqual(yield* settled(second, yield* expired("z")), "token")
      const honest = provider.refresh
      provider.refresh = () => refuse({ _tag: "Transient", retryAfter: Duration.minutes(10) })
      yield* Effect.flip(one.get(first))
      provider.refresh = honest
      const before = seen.total
      yield* quiet
      for (const tokens of [one, second]) {
        const error = yield* Effect.flip(tokens.get(next))
        assert.strictEqual(error.code, "authorization_server_unavailable")
        assert.strictEqual(error._tag === "TokenError" && Duration.toMinutes(error.retryAfter!), 10)
      }
      assert.strictEqual(seen.total, before)
      assert.strictEqual(yield* settled(second, stranger), "token")
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual(yield* settled(second, next), "token")
    }).pipe(Effect.scoped, Effect.provide(layer)))
})

describe("an endpoint that answers what nobody understands", () => {
  it.effect("says that to one user at a time, and is asked for everybody else of the tenant as before", () =>
    Effect.gen(function*() {
      const { provider, seen } = yield* observed
      const honest = provider.refresh
      const tokens = yield* AccessTokens
      const keys = yield* many(threshold * 2, "user")
      provider.refresh = () => refuse({ _tag: "Transient", unclear: true })
      for (const key of keys.slice(0, threshold)) {
        assert.strictEqual(yield* settled(tokens, key), "authorization_server_unavailable")
      }
      provider.refresh = honest
      for (const key of keys.slice(threshold)) assert.strictEqual(yield* settled(tokens, key), "token")
      assert.strictEqual(seen.total, threshold)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("has come back by that where it was down, for everybody", () =>
    Effect.gen(function*() {
      const { provider } = yield* observed
      const honest = provider.refresh
      const tokens = yield* AccessTokens
      const keys = yield* many(threshold + 3, "user")
      provider.refresh = () => refuse({ _tag: "Transient" })
      for (const key of keys.slice(0, threshold)) yield* settled(tokens, key)
      assert.strictEqual(yield* settled(tokens, keys[threshold]!), "authorization_server_unavailable")
      yield* TestClock.adjust("4 seconds")
      provider.refresh = () => refuse({ _tag: "Transient", unclear: true })
      assert.strictEqual(yield* settled(tokens, keys[threshold + 1]!), "authorization_server_unavailable")
      provider.refresh = honest
      assert.strictEqual(yield* settled(tokens, keys[threshold + 2]!), "token")
    }).pipe(Effect.scoped, Effect.provide(layer)))
})

describe("an endpoint that does not answer", () => {
  it.effect("REF-14 slows nobody down who asks another one, and is left alone after a few requests", () =>
    Effect.gen(function*() {
      const { provider, seen } = yield* observed
      const honest = provider.refresh
      provider.refresh = (issue, grant) =>
        grant.issuer === shared ? Effect.andThen(Effect.sync(() => seen.total++), Effect.never) : honest(issue, grant)
      const tokens = yield* AccessTokens
      const hung = yield* all(tokens, yield* many(cap * 50, "hung"))
      const well = yield* many(50, "well", { at: other })
      for (const key of well.slice(0, 25)) assert.strictEqual(yield* settled(tokens, key), "token")
      // The deadline of the request is over for as many as may ask at once, and then no one else asks.
      yield* TestClock.adjust("61 seconds")
      const asked = seen.total
      const late = yield* expired("late")
      const error = yield* Effect.flip(tokens.get(late))
      assert.strictEqual(error.code, "authorization_server_unavailable")
      for (const key of well.slice(25)) assert.strictEqual(yield* settled(tokens, key), "token")
      assert.strictEqual(seen.total, asked + 25)
      yield* TestClock.adjust("3 minutes")
      assert.notInclude(yield* Fiber.join(hung), "token")
    }).pipe(Effect.scoped, Effect.provide(layerCapped)))

  it.effect("is asked again by one of all replicas, and when it answers by everybody", () =>
    Effect.gen(function*() {
      const { gate, provider, seen } = yield* observed
      const honest = provider.refresh
      const [one, second] = [yield* AccessTokens, yield* replica()]
      const keys = yield* many(30, "mcp")
      provider.refresh = () => refuse({ _tag: "Transient" })
      for (const key of keys.slice(0, threshold)) yield* Effect.flip(one.get(key))
      yield* quiet
      provider.refresh = honest
      assert.strictEqual(yield* settled(second, keys[20]!), "authorization_server_unavailable")
      assert.strictEqual(seen.total, 0)

      yield* TestClock.adjust("4 seconds")
      yield* gate.close
      const asking = [yield* all(one, keys.slice(5, 15)), yield* all(second, keys.slice(15, 25))]
      yield* quiet
      assert.strictEqual(seen.total, 1)
      yield* gate.open
      const outcomes = (yield* Effect.forEach(asking, Fiber.join)).flat()
      assert.lengthOf(outcomes.filter((outcome) => outcome === "token"), 1)
      yield* quiet
      for (const key of keys.slice(5, 25)) assert.strictEqual(yield* settled(second, key), "token")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("is looked at once for all who ask meanwhile, and all of them believe what was found", () =>
    Effect.gen(function*() {
      const { provider, seen } = yield* observed
      const honest = provider.refresh
      const tokens = yield* replica()
      const store = yield* PacingStore
      const { admit } = store
      const gate = yield* Latch.make()
      let looks = 0
      Object.assign(store, {
        admit: (...input: Parameters<typeof admit>) =>
          Effect.suspend(() => {
            looks++
            return Effect.andThen(gate.await, admit(...input))
          })
      })
      const crowd = yield* all(tokens, yield* many(20, "well"))
      yield* quiet
      yield* gate.open
      assert.deepStrictEqual(new Set(yield* Fiber.join(crowd)), new Set(["token"]))
      assert.deepStrictEqual([looks, seen.total], [1, 20])
      provider.refresh = () => refuse({ _tag: "Transient", retryAfter: Duration.minutes(10) })
      yield* Effect.flip(tokens.get(yield* expired("hurt")))
      provider.refresh = honest
      yield* gate.close
      const kept = yield* all(tokens, yield* many(20, "paused"))
      yield* quiet
      yield* gate.open
      assert.deepStrictEqual(new Set(yield* Fiber.join(kept)), new Set(["authorization_server_unavailable"]))
      assert.strictEqual(seen.total, 20)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("is probed by somebody else when whoever might is kept from sending", () =>
    Effect.gen(function*() {
      const { provider } = yield* observed
      const honest = provider.refresh
      const tokens = yield* AccessTokens
      const store = yield* ConnectionStore
      const keys = yield* many(threshold + 2, "mcp")
      provider.refresh = () => refuse({ _tag: "Transient" })
      for (const key of keys.slice(0, threshold)) yield* Effect.flip(tokens.get(key))
      provider.refresh = honest
      yield* TestClock.adjust("4 seconds")
      const [held, free] = keys.slice(threshold) as [ConnectionKey, ConnectionKey]
      const { epoch, generation } = Option.getOrThrow(yield* store.get(held))
      yield* store.claim(held, { generation, epoch, policy: "retry-once", lease: Duration.minutes(1) })
      const waiting = yield* all(tokens, [held])
      yield* quiet
      assert.strictEqual(yield* settled(tokens, free), "token")
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* Fiber.join(waiting), ["token"])
    }).pipe(Effect.scoped, Effect.provide(layer)))
})

describe("a cap", () => {
  it.effect("REF-13 is kept over replicas, and everybody gets a token", () =>
    Effect.gen(function*() {
      const { gate, seen } = yield* observed
      const replicas = [
        yield* AccessTokens,
        yield* replica({ caps: [{ endpoint: shared, cap }] }),
        yield* replica({ caps: [{ endpoint: shared, cap }] })
      ]
      const keys = yield* many(60, "mcp")
      yield* gate.close
      const asking = yield* Effect.forEach(
        replicas,
        (tokens, index) => all(tokens, keys.slice(index * 20, index * 20 + 20))
      )
      yield* quiet
      assert.strictEqual(seen.open, cap)
      yield* TestClock.adjust("500 millis")
      assert.strictEqual(seen.open, cap)
      yield* gate.open
      yield* TestClock.adjust("10 seconds")
      const outcomes = (yield* Effect.forEach(asking, Fiber.join)).flat()
      assert.deepStrictEqual(outcomes, keys.map(() => "token"))
      assert.deepStrictEqual([seen.most, seen.total], [cap, 60])
    }).pipe(Effect.scoped, Effect.provide(layerCapped)))

  it.effect("gives every tenant its turn", () =>
    Effect.gen(function*() {
      const { gate, seen } = yield* observed
      const tokens = yield* AccessTokens
      yield* gate.close
      const flood = yield* all(tokens, yield* many(40, "flood"))
      yield* quiet
      const modest = yield* all(tokens, [
        yield* expired("one", { tenant: "umbrella", issuer: "https://modest.example" })
      ])
      yield* quiet
      assert.isUndefined(modest.pollUnsafe())
      yield* gate.open
      yield* Fiber.join(modest)
      assert.isAtMost(seen.order.indexOf("https://modest.example"), cap + 2)
      yield* Fiber.join(flood)
    }).pipe(Effect.scoped, Effect.provide(layerCapped)))

  it.effect("is waited for without a lease, and a new consent ends the wait", () =>
    Effect.gen(function*() {
      const tokens = yield* AccessTokens
      const store = yield* ConnectionStore
      const pacing = yield* PacingStore
      const points = yield* InjectionPoints
      const key = yield* expired("mcp")
      const gone = { provider: shared, holder: "a replica", cap, count: cap, lease: Duration.minutes(1) }
      assert.lengthOf(yield* pacing.acquire(gone), cap)
      const waiting = yield* all(tokens, [key])
      yield* quiet
      assert.isUndefined(waiting.pollUnsafe())
      assert.strictEqual(yield* points.count("refresh.claimed"), 0)
      yield* connect(key)
      assert.deepStrictEqual(yield* Fiber.join(waiting), ["token"])
      assert.strictEqual(Option.getOrThrow(yield* store.get(key)).generation, 2)
    }).pipe(Effect.scoped, Effect.provide(layerCapped)))

  it.effect("is free again when a replica that had all of it died, and the impatient are told to come back", () =>
    Effect.gen(function*() {
      const tokens = yield* AccessTokens
      const pacing = yield* PacingStore
      const key = yield* expired("mcp")
      yield* pacing.acquire({ provider: shared, holder: "gone", cap, count: cap, lease: Duration.seconds(46) })
      const impatient = yield* Effect.forkChild(Effect.flip(tokens.get(key, { patience: "5 seconds" })), {
        startImmediately: true
      })
      yield* TestClock.adjust("5 seconds")
      const error = yield* Fiber.join(impatient)
      assert.strictEqual(error.code, "refresh_in_progress")
      assert.isDefined(error._tag === "TokenError" ? error.retryAfter : undefined)
      const waiting = yield* all(tokens, [key])
      yield* TestClock.adjust("42 seconds")
      assert.deepStrictEqual(yield* Fiber.join(waiting), ["token"])
    }).pipe(Effect.scoped, Effect.provide(layerCapped)))

  it.effect("is not exceeded by who was paused until its slot was somebody else's", () =>
    Effect.gen(function*() {
      const { seen } = yield* observed
      const tokens = yield* AccessTokens
      const points = yield* InjectionPoints
      yield* points.pause("refresh.claimed", { times: 1 })
      const asking = yield* all(tokens, [yield* expired("mcp")])
      yield* points.awaitReached("refresh.claimed")
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual(seen.total, 0)
      yield* points.release("refresh.claimed")
      assert.deepStrictEqual(yield* Fiber.join(asking), ["token"])
      assert.strictEqual(yield* points.count("refresh.claimed"), 2)
    }).pipe(Effect.scoped, Effect.provide(layerCapped)))

  it.effect("leaves no slot taken behind", () =>
    Effect.gen(function*() {
      const { provider } = yield* observed
      const honest = provider.refresh
      const tokens = yield* AccessTokens
      const pacing = yield* PacingStore
      const keys = yield* many(8, "mcp")
      const ways: ReadonlyArray<typeof honest> = [
        honest,
        () => refuse({ _tag: "Terminal", error: "invalid_grant" }),
        () => Effect.die("a defect"),
        () => refuse({ _tag: "Transient" })
      ]
      for (const [index, way] of ways.entries()) {
        provider.refresh = way
        yield* Effect.exit(tokens.get(keys[index]!))
      }
      provider.refresh = () => Effect.never
      const abandoned = yield* all(tokens, keys.slice(4))
      yield* quiet
      yield* Fiber.interrupt(abandoned)
      yield* TestClock.adjust("40 seconds")
      yield* quiet
      const free = { provider: shared, holder: "test", cap, count: cap, lease: Duration.minutes(1) }
      assert.lengthOf(yield* pacing.acquire(free), cap)
    }).pipe(Effect.scoped, Effect.provide(layerCapped)))
})

describe("a resource that refuses every token", () => {
  it.effect("REF-12 costs one forced refresh in a minute, and its callers are told why", () =>
    Effect.gen(function*() {
      const { seen } = yield* observed
      const tokens = yield* AccessTokens
      const key = yield* keyOf("mcp")
      yield* connect(key)
      yield* TestClock.adjust("10 minutes")
      let { accessToken: rejected } = yield* tokens.get(key)
      for (let minute = 1; minute <= 3; minute++) {
        const next = yield* tokens.get(key, { rejected })
        assert.strictEqual(seen.total, minute)
        for (const pause of [1, 20, 38]) {
          const error = yield* Effect.flip(tokens.get(key, { rejected: next.accessToken }))
          assert.strictEqual(error.code, "access_token_refused")
          assert.isDefined(error._tag === "TokenError" ? error.retryAfter : undefined)
          // Everybody else keeps the token.
          const { accessToken } = yield* tokens.get(key)
          assert.strictEqual(Redacted.value(accessToken), Redacted.value(next.accessToken))
          yield* TestClock.adjust(Duration.seconds(pause))
        }
        yield* TestClock.adjust("1 second")
        rejected = next.accessToken
      }
      assert.strictEqual(seen.total, 3)
    }).pipe(Effect.provide(layer)))

  it.effect("is given another one at once where the clock was set back meanwhile", () =>
    Effect.gen(function*() {
      const tokens = yield* AccessTokens
      yield* TestClock.adjust("10 days")
      const key = yield* keyOf("mcp")
      yield* connect(key)
      const first = yield* tokens.get(key)
      const second = yield* tokens.get(key, { rejected: first.accessToken })
      yield* TestClock.setTime(DateTime.toEpochMillis(yield* DateTime.now) - Duration.toMillis("1 day"))
      const third = yield* tokens.get(key, { rejected: second.accessToken })
      assert.notStrictEqual(Redacted.value(third.accessToken), Redacted.value(second.accessToken))
    }).pipe(Effect.provide(layer)))

  it.effect("keeps nobody from the refresh that its token's end asks for", () =>
    Effect.gen(function*() {
      const { provider, seen } = yield* observed
      provider.lifetime = 20
      const [store, tokens] = [yield* ConnectionStore, yield* AccessTokens]
      const stored = (key: ConnectionKey) => Effect.map(store.get(key), Option.getOrThrow)
      for (const refused of [true, false]) {
        const key = yield* keyOf(refused ? "complaint" : "marked")
        yield* connect(key)
        const first = yield* tokens.get(key)
        const second = yield* tokens.get(key, { rejected: first.accessToken })
        if (!refused) {
          // As a replica of a former version leaves it.
          yield* store.reject(key, yield* stored(key))
          assert.strictEqual((yield* Effect.flip(tokens.get(key))).code, "access_token_refused")
        }
        const before = seen.total
        yield* TestClock.adjust("25 seconds")
        const third = yield* tokens.get(key, refused ? { rejected: second.accessToken } : {})
        assert.strictEqual(third.generation, 3)
        assert.strictEqual(seen.total, before + 1)
      }
    }).pipe(Effect.provide(layer)))

  it.effect("is given another one when the token is refused that a refresh in time has brought", () =>
    Effect.gen(function*() {
      const tokens = yield* AccessTokens
      const key = yield* expired("mcp")
      const first = yield* tokens.get(key)
      const second = yield* tokens.get(key, { rejected: first.accessToken })
      assert.notStrictEqual(Redacted.value(first.accessToken), Redacted.value(second.accessToken))
    }).pipe(Effect.provide(layer)))
})
