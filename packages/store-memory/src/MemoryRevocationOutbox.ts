import { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { StoreError } from "@valetkey/domain/StoreError"
import { Duration, Effect, Layer } from "effect"
import { atomically } from "./internal/atomically.ts"
import { atomicallyOf } from "./internal/deletions.ts"
import { note, owe } from "./internal/revocationRows.ts"
import { MemoryWorld } from "./MemoryWorld.ts"

/** Layer of `RevocationOutbox` over the shared state. */
export const layer: Layer.Layer<RevocationOutbox, never, MemoryWorld> = Layer.effect(
  RevocationOutbox,
  Effect.map(MemoryWorld, (world) =>
    RevocationOutbox.of({
      enqueue: (revocation) =>
        Effect.suspend(() => {
          const { issuedAt, key: { tenant } } = revocation
          const allowedAt = world.allowances.get(tenant)
          return issuedAt !== undefined && allowedAt !== undefined && issuedAt.epochMilliseconds <= allowedAt
            ? Effect.fail(new StoreError({ code: "tenant_deleted", operation: "enqueue" }))
            : atomicallyOf(world, tenant, "enqueue", (now) => owe(world, revocation, "late_result", now), "gone")
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

      settle: (id, progress) =>
        atomically((now) => {
          const row = world.outbox.get(id)
          if (row === undefined) return
          world.outbox.delete(id)
          note(world, id, row.revocation.attempts, progress, { end: now })
          const path = row.revocation.key.path
          if (world.connections.get(path)?.connection.status._tag === "revoking") world.connections.delete(path)
        }),

      retry: (id, delay, progress) =>
        atomically((now) => {
          const row = world.outbox.get(id)
          if (row === undefined) return
          const dueAt = now + Duration.toMillis(delay)
          world.outbox.set(id, { ...row, dueAt })
          note(world, id, row.revocation.attempts, progress, { next: dueAt })
        })
    }))
)
