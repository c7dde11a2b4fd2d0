import { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { Duration, Effect, Layer } from "effect"
import { atomically } from "./internal/atomically.ts"
import { MemoryWorld } from "./MemoryWorld.ts"

/** Layer of `RevocationOutbox` over the shared state. */
export const layer: Layer.Layer<RevocationOutbox, never, MemoryWorld> = Layer.effect(
  RevocationOutbox,
  Effect.map(MemoryWorld, (world) =>
    RevocationOutbox.of({
      enqueue: (revocation) =>
        atomically((now) => {
          if (world.outbox.has(revocation.id)) return
          world.outbox.set(revocation.id, { revocation: { ...revocation, attempts: 0 }, dueAt: now })
        }),

      depth: atomically(() => world.outbox.size),

      take: (input) =>
        atomically((now) =>
          [...world.outbox.values()]
            .filter((row) => row.dueAt <= now)
            .sort((a, b) => a.dueAt - b.dueAt)
            .slice(0, input.limit)
            .map((row) => {
              const revocation = { ...row.revocation, attempts: row.revocation.attempts + 1 }
              world.outbox.set(revocation.id, { revocation, dueAt: now + Duration.toMillis(input.lease) })
              return revocation
            })
        ),

      settle: (id) =>
        Effect.sync(() => {
          const row = world.outbox.get(id)
          if (row === undefined) return
          world.outbox.delete(id)
          const path = row.revocation.key.path
          if (world.connections.get(path)?.connection.status._tag === "revoking") world.connections.delete(path)
        }),

      retry: (id, delay) =>
        atomically((now) => {
          const row = world.outbox.get(id)
          if (row !== undefined) world.outbox.set(id, { ...row, dueAt: now + Duration.toMillis(delay) })
        })
    }))
)
