import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import type { RedemptionPolicy } from "@valetkey/domain/Server"
import { Spool, type SpoolEntry } from "@valetkey/domain/Spool"
import { StoreError } from "@valetkey/domain/StoreError"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { Context, Effect, Fiber, Layer, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { expired, inTime, redemptions } from "./Expired.ts"
import { layer } from "./World.ts"

const outage = Effect.fail(new StoreError({ code: "store_unavailable", operation: "test" }))

/** A spool of one process alone. */
const makeSpool = (): Spool["Service"] => {
  const entries = new Map<string, SpoolEntry>()
  return Spool.of({
    append: (entry) => Effect.sync(() => void entries.set(entry.id, entry)),
    remove: (id) => Effect.sync(() => void entries.delete(id)),
    find: (key, { epoch, redeemed }) =>
      Effect.sync(() =>
        Option.fromUndefinedOr(
          [...entries.values()].find((one) =>
            one.key.path === key.path && one.epoch === epoch && one.redeemed === redeemed
          )
        )
      ),
    list: Effect.sync(() => [...entries.values()])
  })
}

/** Two replicas with a spool and a line to the store of their own, and a store that may be away for both. */
const replicas = Effect.fnUntraced(function*(policy: RedemptionPolicy) {
  const world = yield* expired(policy)
  const away = { store: false }
  const reached = <Input extends ReadonlyArray<unknown>, A>(
    method: (...input: Input) => Effect.Effect<A, StoreError>
  ) =>
  (...input: Input) => Effect.suspend(() => away.store ? outage : method(...input))
  const { claim, commit, fail, get, isCommitted, markSent } = world.real
  const connections = () => ({
    ...world.real,
    claim: reached(claim),
    commit: reached(commit),
    fail: reached(fail),
    get: reached(get),
    isCommitted: reached(isCommitted),
    markSent: reached(markSent)
  })
  const build = Effect.gen(function*() {
    const spool = makeSpool()
    const context = yield* Layer.build(
      Layer.fresh(Layer.provideMerge(Housekeeping.layer, AccessTokens.layer())).pipe(
        Layer.provide(Layer.mergeAll(Layer.succeed(ConnectionStore, connections()), Layer.succeed(Spool, spool)))
      )
    )
    return {
      spool,
      tokens: Context.get(context, AccessTokens),
      replay: Context.get(context, Housekeeping).replay
    }
  })
  return { ...world, away, a: yield* build, b: yield* build }
})

/** What a caller at a replica is given. */
const value = (tokens: AccessTokens["Service"], world: { readonly key: Parameters<typeof tokens.get>[0] }) =>
  Effect.map(tokens.get(world.key), ({ accessToken }) => Redacted.value(accessToken))

describe("a store that was away for longer than a lease", () => {
  for (const policy of ["retry-once", "strict"] as const) {
    it.effect(`I1 I3 S3x.12 gets the answer that its owner spooled before another replica redeems again: ${policy}`, () =>
      Effect.gen(function*() {
        const world = yield* replicas(policy)
        const { a, away, b, connection, provider } = world
        const points = yield* InjectionPoints
        yield* points.run("refresh.response_received", Effect.sync(() => away.store = true), { times: 1 })
        assert.strictEqual(yield* inTime(value(a.tokens, world), "20 seconds"), provider.issued[1])
        assert.lengthOf(yield* a.spool.list, 1)
        yield* TestClock.adjust("1 minute")
        assert.strictEqual((yield* Effect.flip(value(b.tokens, world)))._tag, "StoreError")
        // The store is back, the lease is over, and a caller of B is there before A looks at its spool again.
        away.store = false
        const waiting = yield* Effect.forkChild(value(b.tokens, world), { startImmediately: true })
        yield* TestClock.adjust("2 seconds")
        assert.isUndefined(waiting.pollUnsafe())
        assert.strictEqual(yield* a.replay, 1)
        yield* TestClock.adjust("1 second")
        assert.isDefined(waiting.pollUnsafe(), "the caller was not told")
        assert.strictEqual(yield* Fiber.join(waiting), provider.issued[1])
        assert.deepStrictEqual(redemptions(provider), [1])
        const { generation, status } = yield* connection
        assert.deepStrictEqual([generation, status._tag], [2, "active"])
      }).pipe(Effect.scoped, Effect.provide(layer)))
  }

  it.effect("I7 is redeemed again a few seconds after it is back when nobody has the answer", () =>
    Effect.gen(function*() {
      const world = yield* replicas("retry-once")
      const { a, away, b, provider } = world
      const points = yield* InjectionPoints
      // The owner dies with the answer.
      yield* points.pause("refresh.response_received", { times: 1 })
      yield* Effect.addFinalizer(() => points.release("refresh.response_received"))
      yield* Effect.forkChild(value(a.tokens, world), { startImmediately: true })
      yield* points.awaitReached("refresh.response_received")
      away.store = true
      yield* TestClock.adjust("2 minutes")
      yield* Effect.flip(value(b.tokens, world))
      away.store = false
      const waiting = yield* Effect.forkChild(value(b.tokens, world), { startImmediately: true })
      yield* TestClock.adjust("4 seconds")
      assert.isUndefined(waiting.pollUnsafe())
      yield* TestClock.adjust("2 seconds")
      assert.isDefined(waiting.pollUnsafe(), "nobody took over")
      assert.strictEqual(yield* Fiber.join(waiting), provider.issued[2])
      assert.deepStrictEqual(redemptions(provider), [2])
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("REF-23 is kept from nobody whose claim was never marked as sent", () =>
    Effect.gen(function*() {
      const world = yield* replicas("strict")
      const { a, away, b, provider } = world
      const points = yield* InjectionPoints
      yield* points.pause("refresh.claimed", { times: 1 })
      yield* Effect.addFinalizer(() => points.release("refresh.claimed"))
      yield* Effect.forkChild(value(a.tokens, world), { startImmediately: true })
      yield* points.awaitReached("refresh.claimed")
      away.store = true
      yield* Effect.flip(value(b.tokens, world))
      away.store = false
      assert.strictEqual(yield* inTime(value(b.tokens, world), "1 second"), provider.issued[1])
      assert.deepStrictEqual(redemptions(provider), [1])
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("REF-23 is not waited for by who never missed it: what was sent is taken over when its lease ends", () =>
    Effect.gen(function*() {
      const world = yield* replicas("retry-once")
      const { a, b, provider } = world
      const points = yield* InjectionPoints
      yield* points.pause("refresh.response_received", { times: 1 })
      yield* Effect.addFinalizer(() => points.release("refresh.response_received"))
      yield* Effect.forkChild(value(a.tokens, world), { startImmediately: true })
      yield* points.awaitReached("refresh.response_received")
      yield* TestClock.adjust("61 seconds")
      assert.strictEqual(yield* inTime(value(b.tokens, world), "1 millis"), provider.issued[2])
    }).pipe(Effect.scoped, Effect.provide(layer)))
})

describe("a result that is in memory alone", () => {
  it.effect("I1 I3 comes before another redemption of its process when the store is back", () =>
    Effect.gen(function*() {
      const world = yield* replicas("retry-once")
      const { a, away, connection, provider } = world
      const points = yield* InjectionPoints
      Object.assign(a.spool, { append: () => outage })
      yield* points.run("refresh.response_received", Effect.sync(() => away.store = true), { times: 1 })
      assert.strictEqual(yield* inTime(value(a.tokens, world), "20 seconds"), provider.issued[1])
      yield* TestClock.adjust("1 minute")
      yield* TestClock.adjust("1 second")
      away.store = false
      // Before the next look of who keeps the result.
      const told = yield* Effect.exit(inTime(value(a.tokens, world), "1 millis"))
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual([yield* told, redemptions(provider)], [provider.issued[1], [1]])
      assert.strictEqual((yield* connection).generation, 2)
    }).pipe(Effect.scoped, Effect.provide(layer)))
})
