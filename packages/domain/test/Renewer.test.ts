import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { AuditLog } from "@valetkey/domain/AuditLog"
import { AuditTrail } from "@valetkey/domain/AuditTrail"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Renewer } from "@valetkey/domain/Renewer"
import { Sealed } from "@valetkey/domain/Sealed"
import { Servers } from "@valetkey/domain/Servers"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import { Clock, Context, DateTime, Duration, Effect, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, layerWith, Provider, refuse } from "./World.ts"

const ahead = Duration.minutes(5)
// Months pass here: a window of half a minute would be written a million times.
const layer = layerWith({ ahead }, { window: "400 days" })

/** A replica of its own over the shared store. */
const replica = Effect.map(
  Layer.build(Layer.fresh(Layer.provide(Renewer.layer({ ahead }), AccessTokens.layer({ ahead })))),
  Context.get(Renewer)
)

const described = Effect.fnUntraced(function*(key: ConnectionKey, terms: Readonly<Record<string, string>>) {
  yield* (yield* Servers).put(key.tenant, key.server, { resource: "https://mcp.example/mcp", quirks: {}, ...terms })
})

const connected = Effect.fnUntraced(
  function*(terms: Readonly<Record<string, string>> = {}, owner: Parameters<typeof keyOf>[1] = {}) {
    const key = yield* keyOf("mcp", owner)
    yield* described(key, terms)
    yield* connect(key)
    return key
  }
)

/** How often each refresh token was redeemed. */
const redeemed = Effect.map(
  Provider,
  (provider) => [...provider.redemptions].filter(([token]) => token.includes("refresh")).map(([, count]) => count)
)

/** Lets time pass for replicas that look when something is due, all at once. */
const pass = Effect.fnUntraced(function*(replicas: ReadonlyArray<Renewer["Service"]>, duration: Duration.Input) {
  const end = (yield* Clock.currentTimeMillis) + Duration.toMillis(Duration.fromInputUnsafe(duration))
  while (true) {
    const left = end - (yield* Clock.currentTimeMillis)
    const due = Option.getOrElse(yield* replicas[0]!.nextDue, () => Duration.infinity)
    if (Duration.toMillis(due) > left) return yield* TestClock.adjust(left)
    yield* TestClock.adjust(due)
    yield* Effect.forEach(replicas, (one) => one.round(Duration.zero), { concurrency: "unbounded" })
  }
})

const use = Effect.fnUntraced(function*(key: ConnectionKey) {
  const token = yield* (yield* AccessTokens).get(key)
  yield* (yield* AuditTrail).flush
  return token
})

const events = (action: string) =>
  Effect.flatMap(
    AuditLog,
    (log) =>
      Effect.map(log.history({ ...owner, before: undefined, limit: 1000 }), (found) =>
        found.filter((event) =>
          event.action === action
        ).map(({ at, outcome }) => `${outcome} ${DateTime.formatIso(at).slice(0, 10)}`).reverse())
  )

const statusOf = (key: ConnectionKey) =>
  Effect.flatMap(ConnectionStore, (store) => Effect.map(store.get(key), (found) => Option.getOrThrow(found).status))

const ownerOf = ({ server, subject, tenant }: ConnectionKey) => ({ tenant, subject, server })
const owner = ownerOf(Effect.runSync(Effect.orDie(Effect.provide(keyOf("mcp"), layer))))

describe("connections that nobody reads", () => {
  it.effect("REF-21 are renewed before they end while they were used lately, once by all replicas, and then left alone", () =>
    Effect.gen(function*() {
      const key = yield* connected()
      const replicas = [yield* replica, yield* replica, yield* replica]
      yield* use(key)
      for (let hour = 0; hour < 24; hour++) {
        yield* pass(replicas, "1 hour")
        const { credentials } = Option.getOrThrow(yield* (yield* ConnectionStore).get(key))
        assert.isTrue(DateTime.isGreaterThan(credentials.expiresAt!, yield* DateTime.now))
      }
      const first = yield* redeemed
      assert.isAtLeast(first.length, 24)
      assert.isAtMost(first.length, 27)
      yield* pass(replicas, "2 days")
      const second = yield* redeemed
      assert.isAtLeast(second.length, 48)
      yield* pass(replicas, "30 days")
      assert.deepStrictEqual(yield* redeemed, second)
      assert.deepStrictEqual([...new Set(second)], [1])
      // A use brings it back.
      yield* use(key)
      yield* pass(replicas, "3 hours")
      assert.isAbove((yield* redeemed).length, second.length + 2)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("REF-21 are renewed although they were never used where that is wanted, and not where nothing is", () =>
    Effect.gen(function*() {
      const always = yield* connected({ refreshAhead: "always" }, { subject: "ada" })
      const replicas = [yield* replica, yield* replica]
      yield* pass(replicas, "1 day")
      const count = (yield* redeemed).length
      assert.isAtLeast(count, 24)
      for (const refreshAhead of ["on_use", "keep_alive", "never"]) {
        yield* described(always, { refreshAhead })
        yield* TestClock.adjust("2 seconds")
        const before = (yield* redeemed).length
        yield* pass(replicas, "3 days")
        assert.strictEqual((yield* redeemed).length, before, refreshAhead)
      }
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("REF-21 are kept from idling out, by one redemption each time, whatever was said where", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const alive = { idle: Duration.days(30) }
      let last = yield* Clock.currentTimeMillis
      provider.refresh = (issue) =>
        Effect.flatMap(Clock.currentTimeMillis, (now) => {
          if (now - last >= Duration.toMillis(alive.idle)) return refuse({ _tag: "Terminal", error: "invalid_grant" })
          last = now
          return issue
        })
      // An access token that outlasts everything changes nothing.
      provider.lifetime = 400 * 86_400
      const key = yield* connected({ refreshTokenIdleLimit: "30 days" })
      const replicas = [yield* replica, yield* replica]
      yield* pass(replicas, "365 days")
      assert.deepStrictEqual(yield* statusOf(key), { _tag: "active" })
      const first = yield* redeemed
      // Every 21 to 24 days, and not more often.
      assert.isAtLeast(first.length, 15)
      assert.isAtMost(first.length, 17)
      assert.deepStrictEqual([...new Set(first)], [1])
      assert.deepStrictEqual(yield* events("connection.ending"), [])

      // The provider's own word, where it is shorter.
      provider.lifetime = 3600
      alive.idle = Duration.days(2)
      provider.answer = (credentials) => ({
        ...credentials,
        refreshExpiresAt: DateTime.addDuration(credentials.issuedAt, alive.idle)
      })
      yield* connect(key)
      last = yield* Clock.currentTimeMillis
      yield* pass(replicas, "30 days")
      assert.deepStrictEqual(yield* statusOf(key), { _tag: "active" })
      const second = (yield* redeemed).slice(first.length)
      assert.isAtLeast(second.length, 18)
      assert.isAtMost(second.length, 22)
      assert.deepStrictEqual([...new Set(second)], [1])

      // Nothing is kept alive that an operator lets idle out; the person is told why.
      yield* described(key, { refreshAhead: "never" })
      yield* TestClock.adjust("2 seconds")
      const count = (yield* redeemed).length
      yield* pass(replicas, "3 days")
      assert.strictEqual((yield* redeemed).length, count)
      assert.isTrue((yield* Effect.exit(use(key)))._tag === "Failure")
      assert.deepStrictEqual(yield* statusOf(key), { _tag: "needs_reauth", reason: "refresh_token_idled_out" })
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("REF-21 are tried again and rarer while their provider is down; that they idle out is told once", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const key = yield* connected({ refreshTokenIdleLimit: "30 days" })
      const replicas = [yield* replica, yield* replica]
      yield* pass(replicas, "20 days")
      provider.refresh = () => refuse({ _tag: "Transient" })
      yield* pass(replicas, "6 days")
      assert.deepStrictEqual(yield* events("connection.ending"), [])
      const [attempts] = yield* redeemed
      assert.isAtLeast(attempts!, 24)
      assert.isAtMost(attempts!, 200)
      yield* pass(replicas, "3 days")
      assert.deepStrictEqual(yield* events("connection.ending"), ["idle 1970-01-28"])
      provider.refresh = (issue) => issue
      yield* pass(replicas, "2 hours")
      assert.deepStrictEqual(yield* statusOf(key), { _tag: "active" })
      assert.strictEqual(provider.issued.length, 2)
      // The next time is another one.
      provider.refresh = () => refuse({ _tag: "Transient" })
      yield* pass(replicas, "29 days")
      assert.strictEqual((yield* events("connection.ending")).length, 2)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("REF-21 are told of before their grant ends, once, and what was refused after it says so", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      provider.lifetime = 10 * 86_400
      const key = yield* connected({ refreshTokenLifetime: "90 days", refreshAhead: "always" })
      const replicas = [yield* replica, yield* replica]
      yield* pass(replicas, "82 days")
      assert.deepStrictEqual(yield* events("connection.ending"), [])
      yield* pass(replicas, "7 days")
      assert.deepStrictEqual(yield* events("connection.ending"), ["lifetime 1970-03-25"])
      yield* TestClock.adjust("1 day")
      provider.refresh = () => refuse({ _tag: "Terminal", error: "invalid_grant" })
      yield* pass(replicas, "2 days")
      assert.deepStrictEqual(yield* statusOf(key), { _tag: "needs_reauth", reason: "grant_expired" })
      assert.deepStrictEqual(yield* events("connection.needs_consent"), ["grant_expired 1970-04-01"])
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("REF-21 do not wait for one that cannot be opened or looked at", () =>
    Effect.gen(function*() {
      const { connections } = yield* MemoryWorld
      const damaged = yield* connected({ refreshAhead: "always" }, { subject: "damaged" })
      const sound = yield* connected({ refreshAhead: "always" }, { subject: "sound" })
      const row = connections.get(damaged.path)!
      const credentials = { ...row.connection.credentials, refreshToken: Sealed.make(new Uint8Array([1])) }
      connections.set(damaged.path, { ...row, connection: { ...row.connection, credentials } })
      const replicas = [yield* replica, yield* replica]
      yield* pass(replicas, "6 hours")
      const generationOf = (key: ConnectionKey) => Number(connections.get(key.path)!.connection.generation)
      assert.isAtLeast(generationOf(sound), 6)
      assert.strictEqual(generationOf(damaged), 1)
    }).pipe(Effect.scoped, Effect.provide(layer)))
})
