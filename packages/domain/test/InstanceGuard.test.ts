import { assert, describe, it } from "@effect/vitest"
import { AuthorizationServer } from "@valetkey/domain/AuthorizationServer"
import { Cipher } from "@valetkey/domain/Cipher"
import { Flows } from "@valetkey/domain/Flows"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { Instance } from "@valetkey/domain/Instance"
import * as InstanceGuard from "@valetkey/domain/InstanceGuard"
import * as MemoryInstanceStore from "@valetkey/store-memory/MemoryInstanceStore"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import { Context, DateTime, Effect, Layer } from "effect"
import { TestClock } from "effect/testing"

/** What was asked behind the guard. */
class Asked extends Context.Service<Asked, Array<string>>()("test/Asked") {
  static readonly layer = Layer.sync(Asked, () => [])
}

/** A port or use case that notes which of its members ran, and gives 7. */
const noting = <Id, S extends object>(key: Context.Key<Id, S>, members: ReadonlyArray<string>, effects = false) =>
  Layer.effect(
    key,
    Effect.map(Asked, (asked) => {
      const note = (name: string) => Effect.sync(() => (asked.push(name), 7))
      return Object.fromEntries(
        members.map((name) => [name, effects ? note(name) : () => note(name)])
      ) as unknown as S
    })
  )

const called = ["discover", "register", "exchange", "refresh", "revoke"] as const
const kept = ["sweep", "revoke", "replay"] as const

const layer = Layer.mergeAll(
  InstanceGuard.layerCipher.pipe(Layer.provide(noting(Cipher, ["seal", "open"]))),
  InstanceGuard.layerAuthorizationServer.pipe(Layer.provide(noting(AuthorizationServer, called))),
  InstanceGuard.layerFlows.pipe(Layer.provide(noting(Flows, ["start"]))),
  InstanceGuard.layerHousekeeping.pipe(Layer.provide(noting(Housekeeping, kept, true)))
).pipe(
  Layer.provideMerge(Instance.layer({ id: "staging", every: "2 seconds" })),
  Layer.provideMerge(MemoryInstanceStore.layer),
  Layer.provideMerge(Layer.merge(MemoryWorld.layer, Asked.layer))
)

/** Uses all that is guarded; the answers do not matter. */
const useAll = Effect.gen(function*() {
  const guarded = [
    [yield* Cipher, ["seal", "open"]],
    [yield* AuthorizationServer, called],
    [yield* Flows, ["start"]]
  ] as const
  for (const [service, members] of guarded) {
    for (const name of members) {
      const member = Reflect.get(service, name) as () => Effect.Effect<unknown, unknown>
      yield* Effect.ignore(Reflect.apply(member, service, []))
    }
  }
  const housekeeping = yield* Housekeeping
  return yield* Effect.all(kept.map((name) => housekeeping[name]))
})

const everything = ["seal", "open", ...called, "start", ...kept]

describe("the instance guard", () => {
  it.effect("lets everything through for the instance that claimed the store", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* useAll, [7, 7, 7])
      assert.deepStrictEqual(yield* Asked, everything)
      assert.deepStrictEqual((yield* Instance).former(), [])
      assert.isUndefined((yield* Instance).restoredBefore())
    }).pipe(Effect.provide(layer)))

  it.effect("I24 LIFE-04 opens nothing and calls nobody while the store is another instance's, until it is taken over", () =>
    Effect.gen(function*() {
      const { instance: stored } = yield* MemoryWorld
      const instance = yield* Instance
      const asked = yield* Asked
      stored.record = { id: "production", former: [], takenOverAt: undefined }
      yield* TestClock.adjust("2 seconds")

      assert.deepStrictEqual(yield* useAll, [0, 0, 0])
      assert.deepStrictEqual(asked, [])
      assert.strictEqual((yield* Effect.flip(instance.admitted)).code, "instance_mismatch")
      assert.deepInclude(yield* instance.look, { configured: "staging", stored: "production" })

      yield* TestClock.adjust("1 hour")
      assert.deepInclude(yield* instance.takeOver, { configured: "staging", stored: "staging" })
      assert.deepStrictEqual(yield* useAll, [7, 7, 7])
      assert.deepStrictEqual(asked, everything)
      assert.deepStrictEqual(instance.former(), ["production"])
      const takenOverAt = instance.restoredBefore()
      assert.deepStrictEqual(takenOverAt, yield* DateTime.now)

      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual((yield* instance.takeOver).takenOverAt, takenOverAt)
    }).pipe(Effect.provide(layer)))

  it.effect("I24 LIFE-04 goes quiet when somebody else takes the store over", () =>
    Effect.gen(function*() {
      const { instance: stored } = yield* MemoryWorld
      const { admitted } = yield* Instance
      yield* admitted
      stored.record = { id: "other", former: ["staging"], takenOverAt: yield* DateTime.now }
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Effect.flip(admitted)).code, "instance_mismatch")
      assert.deepStrictEqual(yield* useAll, [0, 0, 0])
    }).pipe(Effect.provide(layer)))
})
