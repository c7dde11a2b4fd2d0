import { Context, Effect, Latch, Layer } from "effect"

/** Whether this process is going away: readiness says so, and nobody waits here any more. */
export class Draining extends Context.Service<Draining, {
  /** Starts the drain. Idempotent. */
  readonly begin: Effect.Effect<void>
  readonly begun: Effect.Effect<boolean>
  /** Completes when the drain begins. */
  readonly wait: Effect.Effect<void>
}>()("@valetkey/server/Draining") {
  /** Layer of a process that is not draining. */
  static readonly layer: Layer.Layer<Draining> = Layer.sync(Draining, () => {
    const latch = Latch.makeUnsafe(false)
    let begun = false
    return Draining.of({
      begin: Effect.suspend(() => {
        begun = true
        return latch.open
      }),
      begun: Effect.sync(() => begun),
      wait: latch.await
    })
  })
}
