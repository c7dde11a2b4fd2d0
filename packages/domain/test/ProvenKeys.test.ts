import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { Cipher } from "@valetkey/domain/Cipher"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { Context, Duration, Effect, Fiber, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, layer, Provider, Vault } from "./World.ts"

/** Two replicas, three expired connections of one tenant, and what is asked of store and cipher from now on. */
const replicas = Effect.gen(function*() {
  const keys = [yield* keyOf("first"), yield* keyOf("second"), yield* keyOf("third")] as const
  for (const key of keys) yield* connect(key)
  yield* TestClock.adjust("2 hours")
  const store = yield* ConnectionStore
  const cipher = yield* Cipher
  const { claim } = store
  const { open, seal } = cipher
  const asked: Array<string> = []
  Object.assign(store, {
    claim: (...input: Parameters<typeof claim>) =>
      Effect.tap(claim(...input), ({ _tag }) => Effect.sync(() => asked.push(_tag)))
  })
  Object.assign(cipher, {
    open: (...input: Parameters<typeof open>) => {
      if (input[0].field === "refresh_token") asked.push("open")
      return open(...input)
    },
    seal: (...input: Parameters<typeof seal>) => {
      asked.push("seal")
      return seal(...input)
    }
  })
  return {
    asked,
    keys,
    one: yield* AccessTokens,
    other: Context.get(yield* Layer.build(Layer.fresh(AccessTokens.layer())), AccessTokens),
    points: yield* InjectionPoints,
    redemptions: Effect.map(Provider, ({ redemptions }) => [...redemptions.values()]),
    row: (key: typeof keys[0]) => Effect.map(store.get(key), Option.getOrThrow),
    vault: yield* Vault
  }
})

describe("a process whose keys have just served", () => {
  it.effect("I1 opens nothing for a claim that it loses, and opens and seals for the one that it has before it may send", () =>
    Effect.gen(function*() {
      const { asked, keys: [first, second, third], one, other, points } = yield* replicas
      yield* one.get(first)
      yield* other.get(second)
      yield* points.pause("refresh.claimed", { times: 1 })
      asked.length = 0
      const winner = yield* Effect.forkChild(one.get(third), { startImmediately: true })
      yield* points.awaitReached("refresh.claimed", 3)
      const loser = yield* Effect.forkChild(other.get(third), { startImmediately: true })
      assert.deepStrictEqual(asked, ["Claimed", "Busy"])
      yield* points.pause("refresh.sent", { times: 1 })
      yield* points.release("refresh.claimed")
      yield* points.awaitReached("refresh.sent", 3)
      assert.deepStrictEqual(asked, ["Claimed", "Busy", "seal", "open"])
      yield* points.release("refresh.sent")
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(winner)).generation, 2)
      assert.strictEqual((yield* Fiber.join(loser)).generation, 2)
      assert.deepStrictEqual(asked.filter((what) => what === "open"), ["open"])
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("I14 gives back the one claim that shows that a key is gone, sends nothing, and claims no more", () =>
    Effect.gen(function*() {
      const { asked, keys: [first, second], one, other, redemptions, row, vault } = yield* replicas
      yield* one.get(first)
      const before = (yield* redemptions).length
      vault.locked = true
      asked.length = 0
      for (let call = 0; call < 5; call++) {
        assert.strictEqual((yield* Effect.flip(one.get(second))).code, "encryption_key_missing")
      }
      assert.deepStrictEqual(asked.filter((what) => what !== "open" && what !== "seal"), ["Claimed"])
      assert.strictEqual((yield* redemptions).length, before)
      assert.strictEqual((yield* row(second)).status._tag, "active")
      // No lease is in the way of whoever has the key.
      vault.locked = false
      assert.strictEqual((yield* other.get(second)).generation, 2)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("I14 shows it again after a while, before it claims anything", () =>
    Effect.gen(function*() {
      const { asked, keys: [first, second], one, vault } = yield* replicas
      yield* one.get(first)
      yield* TestClock.adjust(Duration.seconds(6))
      vault.locked = true
      asked.length = 0
      assert.strictEqual((yield* Effect.flip(one.get(second))).code, "encryption_key_missing")
      assert.notInclude(asked, "Claimed")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("I14 shows it for each key by itself: what is under another one is opened before a claim", () =>
    Effect.gen(function*() {
      const { asked, keys: [first, second], one } = yield* replicas
      const store = yield* ConnectionStore
      const { get } = store
      yield* one.get(first)
      Object.assign(store, {
        get: (key: typeof second) =>
          Effect.map(
            get(key),
            Option.map((found) => ({
              ...found,
              credentials: {
                ...found.credentials,
                refreshToken: found.credentials.refreshToken!.map((byte, place) => place === 7 ? byte ^ 1 : byte)
              }
            }))
          )
      })
      asked.length = 0
      yield* Effect.exit(one.get(second))
      assert.notInclude(asked, "Claimed")
    }).pipe(Effect.scoped, Effect.provide(layer)))
})
