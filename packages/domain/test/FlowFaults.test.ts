import { assert, describe, it } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Flows } from "@valetkey/domain/Flows"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { StoreError } from "@valetkey/domain/StoreError"
import { Deferred, Effect, Fiber, Latch, Option } from "effect"
import { TestClock } from "effect/testing"
import { Browser, connect, keyOf, layer, Provider } from "./World.ts"

const outage = new StoreError({ code: "store_unavailable", operation: "test" })

describe("a start whose slot is taken but not given", () => {
  it.effect("frees the slot when the caller goes away in that moment", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      const flows = yield* Flows
      const store = yield* FlowStore
      const { reserve } = store
      const [taken, gate] = [yield* Latch.make(), yield* Deferred.make<void>()]
      Object.assign(store, {
        reserve: (...input: Parameters<typeof reserve>) =>
          Effect.tap(reserve(...input), () => Effect.andThen(taken.open, Deferred.await(gate)))
      })
      const gone = yield* Effect.forkChild(flows.start(key))
      yield* taken.await
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(gone), { startImmediately: true })
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(interrupting)
      Object.assign(store, { reserve })
      assert.strictEqual((yield* flows.start(key))._tag, "Started")
    }).pipe(Effect.provide(layer)))

  it.effect("frees the slot when the store's answer is lost", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      const flows = yield* Flows
      const store = yield* FlowStore
      const { reserve } = store
      Object.assign(store, {
        reserve: (...input: Parameters<typeof reserve>) => Effect.andThen(reserve(...input), Effect.fail(outage))
      })
      assert.strictEqual((yield* Effect.flip(flows.start(key)))._tag, "StoreError")
      Object.assign(store, { reserve })
      assert.strictEqual((yield* flows.start(key))._tag, "Started")
      assert.strictEqual((yield* Browser).open.size, 1)
    }).pipe(Effect.provide(layer)))
})

describe("a connection that cannot give tokens any more", () => {
  it.effect("is connected anew: its token is over and there is nothing to refresh it with", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      provider.answer = ({ refreshToken: _, ...credentials }) => credentials
      const key = yield* keyOf("mcp")
      yield* connect(key)
      const flows = yield* Flows
      assert.strictEqual((yield* flows.start(key))._tag, "AlreadyConnected")
      yield* TestClock.adjust("2 hours")
      assert.strictEqual((yield* flows.start(key))._tag, "Started")
    }).pipe(Effect.provide(layer)))

  it.effect("S4.62 is connected anew: its token was rejected and there is nothing to refresh it with", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      provider.answer = ({ refreshToken: _, ...credentials }) => credentials
      const key = yield* keyOf("mcp")
      yield* connect(key)
      const store = yield* ConnectionStore
      const { generation } = Option.getOrThrow(yield* store.get(key))
      yield* store.reject(key, generation)
      assert.strictEqual((yield* (yield* Flows).start(key))._tag, "Started")
    }).pipe(Effect.provide(layer)))
})
