import { InstanceStore } from "@valetkey/domain/InstanceStore"
import { DateTime, Effect, Layer } from "effect"
import { atomically } from "./internal/atomically.ts"
import { MemoryWorld } from "./MemoryWorld.ts"

/** Layer of `InstanceStore` over the shared state. */
export const layer: Layer.Layer<InstanceStore, never, MemoryWorld> = Layer.effect(
  InstanceStore,
  Effect.map(MemoryWorld, ({ instance }) =>
    InstanceStore.of({
      claim: (id) => atomically(() => instance.record ??= { id, former: [], takenOverAt: undefined }),

      takeOver: (from, to) =>
        atomically((now) => {
          const { record } = instance
          if (record?.id !== from) return false
          const former = [...record.former.filter((id) => id !== from && id !== to), from]
          instance.record = { id: to, former, takenOverAt: DateTime.makeUnsafe(now) }
          return true
        })
    }))
)
