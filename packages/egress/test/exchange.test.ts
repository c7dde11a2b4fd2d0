import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Dispatcher } from "undici"
import { Exchange } from "../src/internal/exchange.ts"

class Controller implements Dispatcher.DispatchController {
  aborted = false
  paused = false
  reason = null
  abort() {
    this.aborted = true
  }
  pause() {
    this.paused = true
  }
  resume() {
    this.paused = false
  }
}

describe("Exchange", () => {
  it.effect("SSRF-14 pauses the socket while its reader is behind", () =>
    Effect.gen(function*() {
      const exchange = yield* Exchange.make
      const controller = new Controller()
      exchange.onRequestStart(controller)
      exchange.onResponseStart(controller, 200, {})
      for (let piece = 0; piece < 5; piece++) exchange.onResponseData(controller, new Uint8Array(64 * 1024))
      assert.isTrue(controller.paused)
      yield* exchange.next
      assert.isFalse(controller.paused)
    }))

  it.effect("refuses to be written a second time", () =>
    Effect.gen(function*() {
      const exchange = yield* Exchange.make
      exchange.onRequestStart(new Controller())
      const again = new Controller()
      exchange.onRequestStart(again)
      assert.isTrue(again.aborted)
      const error = yield* Effect.flip(exchange.head)
      assert.deepInclude(error.reason, { _tag: "Interrupted", sent: true })
    }))
})
