import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { RevocationError } from "@valetkey/domain/AuthorizationServer"
import { Connections } from "@valetkey/domain/Connections"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Flows } from "@valetkey/domain/Flows"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { Spool, type SpoolEntry } from "@valetkey/domain/Spool"
import { StoreError } from "@valetkey/domain/StoreError"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { Effect, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, layer, Provider, Vault } from "./World.ts"

const outage = Effect.fail(new StoreError({ code: "store_unavailable", operation: "test" }))

const disconnected = Effect.fnUntraced(function*(slug: string) {
  const key = yield* keyOf(slug)
  yield* connect(key)
  yield* (yield* Connections).disconnect(key)
  return key
})

describe("Housekeeping.revoke", () => {
  it.effect("EXT-06 tries a refused revocation again, later and later, and the connection is revoking until then", () =>
    Effect.gen(function*() {
      const key = yield* disconnected("mcp")
      const [housekeeping, provider] = [yield* Housekeeping, yield* Provider]
      let asked = 0
      provider.revocation = Effect.suspend(
        () => (asked++, Effect.fail(new RevocationError({ code: "revocation_unavailable" })))
      )
      for (const [wait, calls] of [["0 seconds", 1], ["1 second", 1], ["1 second", 2], ["3 seconds", 2]] as const) {
        yield* TestClock.adjust(wait)
        assert.strictEqual(yield* housekeeping.revoke, 0)
        assert.strictEqual(asked, calls)
      }
      assert.strictEqual((yield* (yield* Connections).get(key)).status._tag, "revoking")
      provider.revocation = Effect.succeed("confirmed")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* housekeeping.revoke, 1)
      assert.includeMembers(provider.revoked, provider.issued)
      assert.isTrue(Option.isNone(yield* (yield* ConnectionStore).get(key)))
    }).pipe(Effect.provide(layer)))

  it.effect("gives a revocation up after a day of refusals, but never for want of the key", () =>
    Effect.gen(function*() {
      const key = yield* disconnected("mcp")
      const [housekeeping, provider, vault] = [yield* Housekeeping, yield* Provider, yield* Vault]
      const hours = (count: number) =>
        Effect.repeat(Effect.andThen(TestClock.adjust("1 hour"), housekeeping.revoke), { times: count })
      vault.locked = true
      yield* hours(50)
      assert.isTrue(Option.isSome(yield* (yield* ConnectionStore).get(key)))
      vault.locked = false
      provider.revocation = Effect.fail(new RevocationError({ code: "revocation_unavailable" }))
      yield* hours(50)
      assert.isTrue(Option.isNone(yield* (yield* ConnectionStore).get(key)))
      assert.deepStrictEqual(provider.revoked, [])
    }).pipe(Effect.provide(layer)))

  it.effect("one revocation that goes wrong does not keep the others from their turn", () =>
    Effect.gen(function*() {
      for (const slug of ["a", "b", "c"]) yield* disconnected(slug)
      const provider = yield* Provider
      let first = true
      provider.revocation = Effect.suspend(() => {
        const poison = first
        first = false
        return poison ? Effect.die(new Error("poison")) : Effect.succeed("confirmed" as const)
      })
      assert.strictEqual(yield* (yield* Housekeeping).revoke, 2)
    }).pipe(Effect.provide(layer)))

  it.effect("sends more than one batch in a round", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      yield* connect(key)
      const outbox = yield* RevocationOutbox
      const { grant } = Option.getOrThrow(yield* (yield* ConnectionStore).get(key))
      for (let n = 0; n < 250; n++) yield* outbox.enqueue({ id: `late ${n}`, key, grant })
      yield* (yield* Housekeeping).revoke
      assert.strictEqual(yield* outbox.depth, 0)
    }).pipe(Effect.provide(layer)))
})

describe("Housekeeping.sweep", () => {
  it.effect("settles more than one batch of abandoned flows in a round", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      for (let count = 0; count < 150; count++) yield* flows.start(yield* keyOf(`mcp-${count}`))
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual(yield* (yield* Housekeeping).sweep, 150)
    }).pipe(Effect.provide(layer)))
})

describe("Housekeeping.replay", () => {
  it.effect("DB-03 an entry that the store cannot take stays, and the next ones are adopted", () =>
    Effect.gen(function*() {
      const [spool, store, tokens, points] = [
        yield* Spool,
        yield* ConnectionStore,
        yield* AccessTokens,
        yield* InjectionPoints
      ]
      const keys = [yield* keyOf("a"), yield* keyOf("b")]
      for (const key of keys) yield* connect(key)
      yield* TestClock.adjust("2 hours")
      yield* points.pause("refresh.before_commit")
      for (const key of keys) yield* Effect.forkChild(tokens.get(key))
      yield* points.awaitReached("refresh.before_commit", 2)
      const { commit } = store
      Object.assign(store, {
        commit: (...input: Parameters<typeof commit>) => input[0].server === "a" ? outage : commit(...input)
      })
      const { replay } = yield* Housekeeping
      assert.strictEqual(yield* replay, 1)
      const left: ReadonlyArray<SpoolEntry> = yield* spool.list
      assert.deepStrictEqual(left.map((entry) => entry.key.server as string), ["a"])
      Object.assign(store, { commit })
      assert.strictEqual(yield* replay, 1)
      assert.deepStrictEqual(yield* spool.list, [])
      yield* points.release("refresh.before_commit")
    }).pipe(Effect.provide(layer)))
})

describe("Housekeeping.layerSchedule", () => {
  it.effect("goes on with the next round after one has failed", () =>
    Effect.gen(function*() {
      const store = yield* FlowStore
      let rounds = 0
      Object.assign(store, { sweep: () => Effect.suspend(() => (rounds++, outage)) })
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Layer.build(Housekeeping.layerSchedule({ every: "1 second" }))
        yield* TestClock.adjust("10 seconds")
      }))
      assert.isAtLeast(rounds, 5)
    }).pipe(Effect.provide(layer)))
})
