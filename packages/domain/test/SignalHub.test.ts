import { assert, describe, it } from "@effect/vitest"
import * as SignalHub from "@valetkey/domain/SignalHub"
import { Effect, Latch } from "effect"

describe("a listener of the hub", () => {
  it.effect("hears the next signal after one that it died of", () =>
    Effect.scoped(Effect.gen(function*() {
      const hub = SignalHub.make()
      const heard = yield* Latch.make()
      yield* hub.listen((topic) => topic === "bad" ? Effect.die(new Error("bad")) : heard.open)
      hub.dispatch("bad")
      hub.dispatch("good")
      yield* heard.await
    })))
})

describe("a subscriber of the hub", () => {
  it.effect("is counted until it is woken or its scope closes", () =>
    Effect.gen(function*() {
      const hub = SignalHub.make()
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Effect.asVoid(hub.subscribe("flow:1"))
        yield* Effect.asVoid(hub.subscribe("flow:2"))
        yield* Effect.asVoid(Effect.scoped(hub.subscribe("flow:3")))
        assert.deepStrictEqual(hub.topics(), ["flow:1", "flow:2"])
        hub.dispatch("flow:1")
        assert.deepStrictEqual(hub.topics(), ["flow:2"])
      }))
      assert.deepStrictEqual(hub.topics(), [])
    }))

  it.effect("hears the first signal after it subscribed, and none of another topic", () =>
    Effect.scoped(Effect.gen(function*() {
      const hub = SignalHub.make()
      hub.dispatch("flow:1")
      const wake = yield* hub.subscribe("flow:1")
      const fiber = yield* Effect.forkChild(wake, { startImmediately: true })
      hub.dispatch("flow:2")
      yield* Effect.yieldNow
      assert.isUndefined(fiber.pollUnsafe())
      hub.dispatch("flow:1")
      yield* wake
    })))
})
