import { assert, describe, it, type Vitest } from "@effect/vitest"
import { KeyRegister } from "@valetkey/domain/KeyRegister"
import { Duration, Effect, type Layer } from "effect"
import { randomBytes } from "node:crypto"
import type { ContractOptions } from "./internal/contractFixtures.ts"

/** Runs the contract of `KeyRegister` on a layer. */
export const suite = <R>(
  name: string,
  layer: Layer.Layer<KeyRegister | R, unknown>,
  options: ContractOptions<R>
): void => {
  describe(`KeyRegister (${name})`, () => it.layer(layer, { timeout: "60 seconds" })((it) => cases(it, options)))
}

/** The cases of the contract, for a suite that shares its layer with others. */
export const cases = <R>(it: Vitest.MethodsNonLive<KeyRegister | R>, options: ContractOptions<R>): void => {
  it.effect("CRY-15 lets replicas that start at once agree on one primary key", () =>
    Effect.gen(function*() {
      const register = yield* KeyRegister
      const [one, two] = [newKey(), newKey()]
      yield* Effect.all(
        Array.from({ length: 10 }, (_, n) => register.enroll(n % 2 === 0 ? [one, two] : [two, one])),
        { concurrency: "unbounded" }
      )
      const known = yield* register.list
      assert.deepStrictEqual(known.map(({ id }) => id), known.map(({ id }) => id).sort((a, b) => a - b))
      for (const key of [one, two]) {
        assert.deepStrictEqual(known.filter(({ id }) => id === key.id).map(({ checkValue }) => checkValue), [
          key.checkValue
        ])
      }
      assert.strictEqual(known.filter(({ state }) => state === "primary").length, 1)
    }))

  it.effect("CRY-05 keeps the check value that it saw first", () =>
    Effect.gen(function*() {
      const register = yield* KeyRegister
      const key = newKey()
      yield* register.enroll([key])
      const [before] = yield* found(key.id)
      yield* register.enroll([{ id: key.id, checkValue: newKey().checkValue }, newKey()])
      assert.deepStrictEqual(yield* found(key.id), [before])
      assert.strictEqual(before?.checkValue, key.checkValue)
    }))

  it.effect("CRY-15 promotes one key, whoever asks at the same time", () =>
    Effect.gen(function*() {
      const register = yield* KeyRegister
      const keys = Array.from({ length: 4 }, newKey)
      yield* register.enroll(keys)
      const answers = yield* Effect.all(
        [...keys, ...keys].map(({ id }) => register.promote(id)),
        { concurrency: "unbounded" }
      )
      assert.isTrue(answers.every((answer) => answer))
      assert.strictEqual((yield* register.list).filter(({ state }) => state === "primary").length, 1)
      assert.isTrue(yield* register.promote(keys[2]!.id))
      assert.isTrue(yield* register.promote(keys[2]!.id))
      const primary = (yield* register.list).filter(({ state }) => state === "primary")
      assert.deepStrictEqual(primary.map(({ id }) => id), [keys[2]!.id])
      assert.isFalse(yield* register.promote(newKey().id))
    }))

  it.effect("CRY-11 retires a key that has not been primary for a while, and for good", () =>
    Effect.gen(function*() {
      const register = yield* KeyRegister
      const [old, next, unused] = [newKey(), newKey(), newKey()]
      const quiet = Duration.minutes(1)
      yield* register.enroll([old, next, unused])
      yield* register.promote(old.id)
      assert.isFalse(yield* register.retire(old.id, quiet))
      assert.isTrue(yield* register.retire(unused.id, quiet))
      yield* register.promote(next.id)
      assert.isFalse(yield* register.retire(old.id, quiet))
      assert.strictEqual((yield* found(old.id))[0]?.state, "active")
      yield* options.advance(Duration.minutes(2))
      assert.isTrue(yield* register.retire(old.id, quiet))
      assert.isTrue(yield* register.retire(old.id, quiet))
      assert.isFalse(yield* register.promote(old.id))
      yield* register.enroll([old])
      assert.strictEqual((yield* found(old.id))[0]?.state, "retired")
      assert.isFalse(yield* register.retire(newKey().id, quiet))
    }))
}

const newKey = () => ({ id: randomBytes(4).readUInt32BE(), checkValue: randomBytes(8).toString("hex") })

const found = (id: number) =>
  Effect.flatMap(KeyRegister, (register) => Effect.map(register.list, (keys) => keys.filter((key) => key.id === id)))
