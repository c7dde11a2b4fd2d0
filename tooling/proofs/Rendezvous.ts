import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Effect, Latch, Layer } from "effect"

/** Tells when every caller has read the connection, so that a gate behind them opens for all and not for the first. */
export interface Rendezvous {
  /** Layer of the same store, whose reads are counted. */
  readonly layer: Layer.Layer<ConnectionStore, never, ConnectionStore>
  /** Completes when the connection was read this many times. */
  readonly met: Effect.Effect<void>
}

/** Makes a rendezvous of this many readers. */
export const make = (readers: number): Rendezvous => {
  const latch = Latch.makeUnsafe()
  let reads = 0
  return {
    met: latch.await,
    layer: Layer.effect(
      ConnectionStore,
      Effect.map(ConnectionStore, (store) =>
        ConnectionStore.of({
          ...store,
          get: (key) =>
            Effect.tap(store.get(key), () => Effect.suspend(() => ++reads === readers ? latch.open : Effect.void))
        }))
    )
  }
}
