import { forgettingOf } from "@valetkey/domain/RevocationOutbox"
import { RevocationReceipts } from "@valetkey/domain/RevocationReceipts"
import { DateTime, Duration, Effect, Layer, Option } from "effect"
import { atomically } from "./internal/atomically.ts"
import { receiptIdOf } from "./internal/revocationRows.ts"
import { MemoryWorld } from "./MemoryWorld.ts"

/** Layer of `RevocationReceipts` over the shared state. */
export const layer: Layer.Layer<RevocationReceipts, never, MemoryWorld> = Layer.effect(
  RevocationReceipts,
  Effect.map(MemoryWorld, (world) =>
    RevocationReceipts.of({
      get: ({ id, subject, tenant }) =>
        atomically(() => {
          const found = world.receipts.get(id)
          return found?.key.tenant === tenant && found.key.subject === subject ? Option.some(found) : Option.none()
        }),

      list: ({ after, limit, server, subject, tenant }) =>
        atomically(() => {
          const own = [...world.receipts.values()].reverse().filter(({ key }) =>
            key.tenant === tenant && key.subject === subject
          )
          const from = after === undefined ? 0 : own.findIndex(({ id }) => id === after) + 1
          if (after !== undefined && from === 0) return []
          return own.slice(from).filter(({ key }) => server === undefined || key.server === server).slice(0, limit)
        }),

      isForgotten: (key, epoch) => atomically(() => world.forgotten.has(forgettingOf(key, epoch))),

      sweep: ({ limit, olderThan }) =>
        atomically((now) => {
          const before = now - Duration.toMillis(olderThan)
          const owed = new Set([...world.outbox.keys()].map(receiptIdOf))
          const old = [...world.receipts.values()].filter(({ createdAt, id, settledAt }) =>
            DateTime.toEpochMillis(settledAt ?? createdAt) < before && !owed.has(id)
          ).slice(0, limit)
          for (const { id } of old) world.receipts.delete(id)
          const marks = [...world.forgotten].filter(([, { at }]) => at < before).slice(0, limit - old.length)
          for (const [name] of marks) world.forgotten.delete(name)
          return old.length + marks.length
        })
    }))
)
