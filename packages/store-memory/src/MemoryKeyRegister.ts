import { KeyRegister } from "@valetkey/domain/KeyRegister"
import { DateTime, Duration, Effect, Layer } from "effect"
import { atomically } from "./internal/atomically.ts"
import { MemoryWorld } from "./MemoryWorld.ts"

/** Layer of `KeyRegister` over the shared state. */
export const layer: Layer.Layer<KeyRegister, never, MemoryWorld> = Layer.effect(
  KeyRegister,
  Effect.map(MemoryWorld, ({ keys }) =>
    KeyRegister.of({
      list: Effect.sync(() => [...keys.values()].map(({ demotedAt: _, ...key }) => key).sort((a, b) => a.id - b.id)),

      enroll: (held) =>
        atomically((now) => {
          for (const { checkValue, id } of held) {
            if (keys.has(id)) continue
            keys.set(id, {
              id,
              checkValue,
              state: "active",
              firstSeenAt: DateTime.makeUnsafe(now),
              demotedAt: -Infinity
            })
          }
          const first = keys.get(held[0]?.id ?? -1)
          const hasPrimary = [...keys.values()].some(({ state }) => state === "primary")
          if (first?.state === "active" && !hasPrimary) keys.set(first.id, { ...first, state: "primary" })
        }),

      promote: (id) =>
        atomically((now) => {
          const key = keys.get(id)
          if (key === undefined || key.state === "retired") return false
          if (key.state === "primary") return true
          for (const one of keys.values()) {
            if (one.state === "primary") keys.set(one.id, { ...one, state: "active", demotedAt: now })
          }
          keys.set(id, { ...key, state: "primary" })
          return true
        }),

      retire: (id, quiet) =>
        atomically((now) => {
          const key = keys.get(id)
          if (key?.state === "retired") return true
          if (key?.state !== "active" || key.demotedAt + Duration.toMillis(quiet) > now) return false
          keys.set(id, { ...key, state: "retired" })
          return true
        })
    }))
)
