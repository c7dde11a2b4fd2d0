import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { Connections } from "@valetkey/domain/Connections"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { Spool } from "@valetkey/domain/Spool"
import { StoreError } from "@valetkey/domain/StoreError"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { Context, Duration, Effect, Fiber, Layer, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, layer, Provider, refuse } from "./World.ts"

/** A connection whose refresh waits at a point: the provider has answered, the store has not heard of it. */
const refreshing = Effect.fnUntraced(function*(
  point: "refresh.response_received" | "refresh.before_commit",
  answer?: Provider["Service"]["refresh"]
) {
  const key = yield* keyOf("mcp")
  yield* connect(key)
  const [points, provider, tokens] = [yield* InjectionPoints, yield* Provider, yield* AccessTokens]
  yield* TestClock.adjust("2 hours")
  if (answer !== undefined) provider.refresh = answer
  yield* points.pause(point, { times: 1 })
  const late = yield* Effect.forkChild(Effect.exit(tokens.get(key, { patience: "1 hour" })))
  yield* points.awaitReached(point)
  provider.refresh = (issue) => issue
  return {
    key,
    provider,
    token: Effect.map(tokens.get(key), ({ accessToken }) => Redacted.value(accessToken)),
    finish: Effect.andThen(points.release(point), Fiber.join(late))
  }
})

const disconnect = Effect.fnUntraced(function*(key: Effect.Success<ReturnType<typeof keyOf>>) {
  yield* (yield* Connections).disconnect(key)
})

/** Sends what is owed; a row that was waiting for it is deleted. */
const revoke = Effect.flatMap(Housekeeping, ({ revoke }) => revoke)
const replay = Effect.flatMap(Housekeeping, ({ replay }) => replay)

describe("a result that comes after its connection ended", () => {
  it.effect("BIND-14 REF-18 I23 is revoked and given to nobody, although a connection of the same name is there again", () =>
    Effect.gen(function*() {
      const { finish, key, provider, token } = yield* refreshing("refresh.response_received")
      yield* disconnect(key)
      yield* revoke
      assert.isTrue(Option.isNone(yield* (yield* ConnectionStore).get(key)))
      yield* connect(key)
      const [former, late, current] = provider.issued
      yield* finish
      assert.strictEqual(yield* token, current)
      yield* revoke
      assert.includeMembers(provider.revoked, [former, late])
      assert.notInclude(provider.revoked, current)
      assert.deepStrictEqual(yield* (yield* Spool).list, [])
    }).pipe(Effect.provide(layer)))

  it.effect("REF-18 I23 is revoked when the person connected again before the old tokens were", () =>
    Effect.gen(function*() {
      const { finish, key, provider, token } = yield* refreshing("refresh.response_received")
      yield* disconnect(key)
      yield* connect(key)
      const [, late, current] = provider.issued
      yield* finish
      yield* revoke
      assert.strictEqual(yield* token, current)
      assert.include(provider.revoked, late)
      assert.notInclude(provider.revoked, current)
    }).pipe(Effect.provide(layer)))

  it.effect("I4 marks nothing when it is a refusal, although generation and fence have come round again", () =>
    Effect.gen(function*() {
      const { finish, key } = yield* refreshing(
        "refresh.response_received",
        () => refuse({ _tag: "Terminal", error: "invalid_grant" })
      )
      const store = yield* ConnectionStore
      const before = Option.getOrThrow(yield* store.get(key))
      yield* disconnect(key)
      yield* revoke
      yield* connect(key)
      const current = Option.getOrThrow(yield* store.get(key))
      const { epoch, generation } = current
      const held = { generation, epoch, policy: "retry-once", lease: Duration.minutes(1) } as const
      const claim = yield* store.claim(key, held)
      assert.strictEqual(generation, before.generation)
      assert.deepStrictEqual(claim, { _tag: "Claimed", fence: 1 })
      yield* store.markSent(key, { ...held, fence: 1 })
      yield* finish
      const after = Option.getOrThrow(yield* store.get(key))
      assert.deepStrictEqual([after.status._tag, after.epoch], ["active", epoch])
      assert.strictEqual((yield* store.claim(key, held))._tag, "Busy")
    }).pipe(Effect.provide(layer)))
})

describe("a result that comes after its connection was moved away", () => {
  /** Another replica, which shares the store and no memory. */
  const replica = Effect.map(Layer.build(Layer.fresh(AccessTokens.layer())), Context.get(AccessTokens))
  const forget = Effect.fnUntraced(function*(key: Effect.Success<ReturnType<typeof keyOf>>) {
    const { generation } = yield* (yield* Connections).get(key)
    yield* (yield* Connections).forget(key, generation)
    return generation
  })

  it.effect("REF-18 is dropped when it comes from a paused replica: revoking it would reach the grant that was moved", () =>
    Effect.scoped(Effect.gen(function*() {
      const { finish, key, provider } = yield* refreshing("refresh.response_received")
      // The lease ends, somebody else redeems, and the person moves the connection.
      yield* TestClock.adjust("10 minutes")
      yield* (yield* replica).get(key)
      assert.strictEqual(yield* forget(key), 2)
      yield* finish
      yield* revoke
      assert.deepStrictEqual(provider.revoked, [])
      assert.deepStrictEqual(yield* (yield* Spool).list, [])
    })).pipe(Effect.provide(layer)))

  it.effect("REF-18 is dropped when it comes from the spool, also once a connection of the same name was ended", () =>
    Effect.scoped(Effect.gen(function*() {
      const { finish, key, provider } = yield* refreshing("refresh.before_commit")
      const spool = yield* Spool
      const [entry] = yield* spool.list
      yield* TestClock.adjust("10 minutes")
      yield* (yield* replica).get(key)
      assert.strictEqual(yield* forget(key), 2)
      const replayed = Effect.andThen(spool.append(entry!), Effect.andThen(replay, revoke))
      yield* replayed
      assert.deepStrictEqual(provider.revoked, [])
      yield* connect(key)
      const current = provider.issued.at(-1)
      yield* replayed
      yield* disconnect(key)
      yield* replayed
      yield* finish
      yield* revoke
      const issued = provider.revoked.filter((token) => provider.issued.includes(token))
      assert.deepStrictEqual(issued, [current])
      assert.deepStrictEqual(yield* spool.list, [])
    })).pipe(Effect.provide(layer)))
})

describe("Housekeeping.replay", () => {
  it.effect("REF-18 I23 owes the revocation of what a dead process left for a connection that ended", () =>
    Effect.gen(function*() {
      const { finish, key, provider } = yield* refreshing("refresh.before_commit")
      yield* disconnect(key)
      yield* revoke
      assert.strictEqual(yield* replay, 0)
      assert.deepStrictEqual(yield* (yield* Spool).list, [])
      yield* revoke
      assert.deepStrictEqual(provider.revoked.filter((token) => provider.issued.includes(token)), provider.issued)
      assert.isTrue(Option.isNone(yield* (yield* ConnectionStore).get(key)))
      yield* finish
    }).pipe(Effect.provide(layer)))

  it.effect("BIND-14 I23 leaves the connection of the same name alone", () =>
    Effect.gen(function*() {
      const { finish, key, provider, token } = yield* refreshing("refresh.before_commit")
      yield* disconnect(key)
      yield* revoke
      yield* connect(key)
      const [, late, current] = provider.issued
      assert.strictEqual(yield* replay, 0)
      yield* revoke
      assert.strictEqual(yield* token, current)
      assert.include(provider.revoked, late)
      assert.notInclude(provider.revoked, current)
      yield* finish
    }).pipe(Effect.provide(layer)))

  it.effect("revokes nothing of a grant that a new consent follows", () =>
    Effect.gen(function*() {
      const { finish, key, provider, token } = yield* refreshing("refresh.before_commit")
      yield* connect(key)
      assert.strictEqual(yield* replay, 0)
      yield* revoke
      assert.deepStrictEqual(provider.revoked, [])
      assert.deepStrictEqual(yield* (yield* Spool).list, [])
      assert.strictEqual(yield* token, provider.issued.at(-1))
      yield* finish
    }).pipe(Effect.provide(layer)))

  it.effect("I23 keeps an entry until its revocation is owed", () =>
    Effect.gen(function*() {
      const { finish, key, provider } = yield* refreshing("refresh.before_commit")
      yield* disconnect(key)
      const outbox = yield* RevocationOutbox
      const { enqueue } = outbox
      const outage = Effect.fail(new StoreError({ code: "store_unavailable", operation: "test" }))
      Object.assign(outbox, { enqueue: () => outage })
      assert.strictEqual(yield* replay, 0)
      assert.strictEqual((yield* (yield* Spool).list).length, 1)
      Object.assign(outbox, { enqueue })
      assert.strictEqual(yield* replay, 0)
      assert.deepStrictEqual(yield* (yield* Spool).list, [])
      yield* revoke
      assert.includeMembers(provider.revoked, provider.issued)
      yield* finish
    }).pipe(Effect.provide(layer)))

  it.effect("keeps nothing of a tenant that was deleted meanwhile", () =>
    Effect.gen(function*() {
      const { finish, key } = yield* refreshing("refresh.before_commit")
      yield* disconnect(key)
      const refused = Effect.fail(new StoreError({ code: "tenant_deleted", operation: "test" }))
      Object.assign(yield* RevocationOutbox, { enqueue: () => refused })
      assert.strictEqual(yield* replay, 0)
      assert.deepStrictEqual(yield* (yield* Spool).list, [])
      yield* finish
    }).pipe(Effect.provide(layer)))

  it.effect("I23 takes the server of an entry of a version before from the row that is being revoked", () =>
    Effect.gen(function*() {
      const { finish, key, provider } = yield* refreshing("refresh.before_commit")
      const spool = yield* Spool
      const [entry] = yield* spool.list
      yield* spool.append({ ...entry!, grant: undefined, clientSecret: undefined })
      yield* disconnect(key)
      yield* replay
      yield* revoke
      assert.includeMembers(provider.revoked, provider.issued)
      assert.deepStrictEqual(yield* spool.list, [])
      yield* finish
    }).pipe(Effect.provide(layer)))
})
