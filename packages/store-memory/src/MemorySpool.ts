import { Spool } from "@valetkey/domain/Spool"
import { Effect, Layer } from "effect"
import { MemoryWorld } from "./MemoryWorld.ts"

/** Layer of `Spool` over the shared state. It survives a store outage that a test makes, and nothing else. */
export const layer: Layer.Layer<Spool, never, MemoryWorld> = Layer.effect(
  Spool,
  Effect.map(MemoryWorld, ({ spool }) =>
    Spool.of({
      append: (entry) => Effect.sync(() => void spool.set(entry.id, entry)),
      remove: (id) => Effect.sync(() => void spool.delete(id)),
      list: Effect.sync(() => [...spool.values()])
    }))
)
