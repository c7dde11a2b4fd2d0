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
