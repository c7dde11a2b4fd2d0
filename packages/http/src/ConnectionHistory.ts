import type { HistoryEvent, HistoryView } from "@valetkey/api/ConnectionsApi"
import type { AuditEntry } from "@valetkey/domain/AuditEvent"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import type { Digest } from "@valetkey/domain/Entropy"
import type { Histories } from "@valetkey/domain/Histories"
import type { StoreError } from "@valetkey/domain/StoreError"
import { Effect } from "effect"

const defaultLimit = 50

/** A part of the history of a connection, as its owner may see it. */
export const of = (
  histories: Histories["Service"],
  key: ConnectionKey,
  { before, limit = defaultLimit }: { readonly before?: Digest | undefined; readonly limit?: number | undefined }
): Effect.Effect<HistoryView, StoreError> =>
  Effect.gen(function*() {
    const { events, next } = yield* histories.of(key, { before, limit })
    const lastUsedAt = (yield* histories.lastUses(key, [key.server])).get(key.server)
    return {
      events: events.map(viewOf),
      ...(lastUsedAt === undefined ? {} : { lastUsedAt }),
      ...(next === undefined ? {} : { next })
    }
  })

const viewOf = (
  { hash, previous: _, seq: __, server: ___, subject: ____, target: _____, tenant: ______, ...event }: AuditEntry
): HistoryEvent => ({ id: hash, ...event })
