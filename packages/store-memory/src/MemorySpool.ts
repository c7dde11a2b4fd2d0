import { Spool } from "@valetkey/domain/Spool"
import { Effect, Layer, Option } from "effect"
import { MemoryWorld } from "./MemoryWorld.ts"

/** Layer of `Spool` over the shared state. It survives a store outage that a test makes, and nothing else. */
export const layer: Layer.Layer<Spool, never, MemoryWorld> = Layer.effect(
  Spool,
  Effect.map(MemoryWorld, ({ spool }) =>
    Spool.of({
      append: (entry) => Effect.sync(() => void spool.set(entry.id, entry)),
      remove: (id) => Effect.sync(() => void spool.delete(id)),
      find: (key, { epoch, redeemed }) =>
        Effect.sync(() =>
          Option.fromUndefinedOr(
            [...spool.values()].find((one) =>
              one.key.path === key.path && one.epoch === epoch && one.redeemed === redeemed
            )
          )
        ),
      list: Effect.sync(() => [...spool.values()])
    }))
)
