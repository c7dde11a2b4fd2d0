import { assert, describe, it, type Vitest } from "@effect/vitest"
import { InstanceStore } from "@valetkey/domain/InstanceStore"
import { DateTime, Effect, type Layer } from "effect"
import { randomUUID } from "node:crypto"

/** Runs the contract of `InstanceStore` on a layer. */
export const suite = <R>(name: string, layer: Layer.Layer<InstanceStore | R, unknown>): void => {
  describe(`InstanceStore (${name})`, () => it.layer(layer, { timeout: "60 seconds" })((it) => cases(it)))
}

/** The cases of the contract, for a suite that shares its layer with others. */
export const cases = <R>(it: Vitest.MethodsNonLive<InstanceStore | R>): void => {
  it.effect("I24 LIFE-04 lets servers that start at once agree on whose the store is, for good", () =>
    Effect.gen(function*() {
      const store = yield* InstanceStore
      const found = yield* Effect.all(
        Array.from({ length: 8 }, () => store.claim(randomUUID())),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(new Set(found.map(({ id }) => id)).size, 1)
      assert.deepStrictEqual(yield* store.claim(randomUUID()), found[0])
    }))

  it.effect("I24 LIFE-04 gives the store to one of those who take it over, and remembers whose it was", () =>
    Effect.gen(function*() {
      const store = yield* InstanceStore
      const before = yield* store.claim(randomUUID())
      const heirs = [randomUUID(), randomUUID(), randomUUID()]
      const taken = yield* Effect.all(heirs.map((heir) => store.takeOver(before.id, heir)), {
        concurrency: "unbounded"
      })
      assert.strictEqual(taken.filter((one) => one).length, 1)
      const now = yield* store.claim(before.id)
      assert.strictEqual(now.id, heirs[taken.indexOf(true)])
      assert.deepStrictEqual(now.former, [...before.former, before.id])
      assert.isTrue(now.takenOverAt !== undefined && DateTime.isDateTime(now.takenOverAt))
      assert.isTrue(yield* store.takeOver(now.id, before.id))
      assert.deepStrictEqual((yield* store.claim(now.id)).former, [...before.former, now.id])
    }))
}
