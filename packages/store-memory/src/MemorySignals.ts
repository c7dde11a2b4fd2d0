import * as SignalHub from "@valetkey/domain/SignalHub"
import { Signals } from "@valetkey/domain/Signals"
import { Effect, Layer } from "effect"

/** Layer of `Signals` for the fibers of one process. */
export const layer: Layer.Layer<Signals> = Layer.sync(Signals, () => {
  const hub = SignalHub.make()
  return Signals.of({
    notify: (topic) => Effect.sync(() => hub.dispatch(topic)),
    wake: (topic) => Effect.sync(() => hub.dispatch(topic)),
    subscribe: hub.subscribe,
    observe: hub.observe,
    listen: hub.listen
  })
})
