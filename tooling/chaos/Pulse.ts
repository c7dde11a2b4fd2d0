import { CheckpointHandler } from "@valetkey/domain/Checkpoint"
import { Effect, Fiber, Layer } from "effect"

/** Microseconds between two checkpoints of refreshes, as a replica measured them. */
export interface Measured {
  /** From the store's word that the request may leave until the answer is in the spool or the spool refused it. */
  readonly sentToDurable: ReadonlyArray<number>
  /** The part of it after the answer was there: what a kill can cost that no provider's grace covers. */
  readonly receivedToDurable: ReadonlyArray<number>
}

const interval = 500

/** Layer that measures the refreshes of this process and tells its parent twice a second. */
export const Pulse: Layer.Layer<never> = Layer.effect(
  CheckpointHandler,
  Effect.gen(function*() {
    const below = yield* CheckpointHandler
    const sent = new WeakMap<object, number>()
    const received = new WeakMap<object, number>()
    let sentToDurable: Array<number> = []
    let receivedToDurable: Array<number> = []
    const tell = setInterval(() => {
      if (sentToDurable.length === 0) return
      process.send?.({ measured: { sentToDurable, receivedToDurable } satisfies Measured })
      sentToDurable = []
      receivedToDurable = []
    }, interval)
    tell.unref()
    yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(tell)))
    return (name) => {
      const fiber = Fiber.getCurrent()
      const now = performance.now()
      if (fiber !== undefined) {
        if (name === "refresh.sent") sent.set(fiber, now)
        if (name === "refresh.response_received") received.set(fiber, now)
        if (name === "refresh.before_commit") {
          sentToDurable.push(Math.round((now - (sent.get(fiber) ?? now)) * 1000))
          receivedToDurable.push(Math.round((now - (received.get(fiber) ?? now)) * 1000))
        }
      }
      return below(name)
    }
  })
)
