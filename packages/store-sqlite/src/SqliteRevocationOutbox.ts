import * as Instruments from "@valetkey/domain/Instruments"
import { type Revocation, RevocationOutbox, unreadableDelay } from "@valetkey/domain/RevocationOutbox"
import type { RevocationProgress } from "@valetkey/domain/RevocationReceipt"
import { StoreError } from "@valetkey/domain/StoreError"
import { Effect, Layer, Metric } from "effect"
import { after } from "./internal/columns.ts"
import type { Session } from "./internal/openDatabase.ts"
import {
  addRevocation,
  noteProgress,
  receiptIdOf,
  type RevocationColumns,
  revocationOf
} from "./internal/revocationRows.ts"
import { CorruptRow } from "./internal/storeError.ts"
import { SqliteDatabase } from "./SqliteDatabase.ts"

/** Layer of `RevocationOutbox` over the database. */
export const layer: Layer.Layer<RevocationOutbox, never, SqliteDatabase> = Layer.effect(
  RevocationOutbox,
  Effect.map(SqliteDatabase, (database) =>
    RevocationOutbox.of({
      enqueue: (revocation) =>
        database.write("enqueue", (session, now) => {
          const isFormer = revocation.issuedAt !== undefined && session.tuple(
                "SELECT 1 FROM tenant_allowances WHERE tenant = ? AND allowed_at >= ?",
                revocation.key.tenant,
                revocation.issuedAt.epochMilliseconds
              ) !== undefined
          if (!isFormer) addRevocation(session, revocation, "late_result", now)
          return isFormer
        }).pipe(
          Effect.flatMap((isFormer) =>
            isFormer ? Effect.fail(new StoreError({ code: "tenant_deleted", operation: "enqueue" })) : Effect.void
          )
        ),

      depth: database.read(
        "depth",
        (session) => session.one<{ readonly depth: number }>("SELECT count(*) AS depth FROM outbox")?.depth ?? 0
      ),

      take: ({ lease, limit }) =>
        database.write("take", (session, now) => {
          const entries: Array<Revocation> = []
          const unreadable: Array<string> = []
          for (
            const row of session.all<RevocationColumns>(
              `UPDATE outbox SET attempts = attempts + 1, due_at = ?
               WHERE id IN (SELECT id FROM outbox WHERE due_at <= ? ORDER BY due_at LIMIT ?) RETURNING *`,
              after(now, lease),
              now,
              limit
            )
          ) {
            try {
              entries.push(revocationOf(row))
            } catch (cause) {
              if (!(cause instanceof CorruptRow)) throw cause
              unreadable.push(row.id)
              postpone(session, row.id, after(now, unreadableDelay), { error: "store_corrupt" }, now)
            }
          }
          return { entries, unreadable }
        }).pipe(
          Effect.tap(({ unreadable }) =>
            Effect.forEach(unreadable, (id) =>
              Effect.andThen(
                Metric.update(Instruments.rowPutAside("outbox"), 1),
                Effect.logError("a revocation cannot be read and is put aside", { receipt: receiptIdOf(id) })
              ))
          ),
          Effect.map(({ entries }) => entries)
        ),

      settle: (id, progress) =>
        database.write("settle", (session, now) => {
          noteProgress(session, id, progress, now, { end: now })
          session.run(
            `DELETE FROM connections WHERE status = 'revoking' AND (tenant, subject, server) =
               (SELECT tenant, subject, server FROM outbox WHERE id = ?)`,
            id
          )
          session.run("DELETE FROM outbox WHERE id = ?", id)
        }),

      retry: (id, delay, progress) =>
        database.write("retry", (session, now) => postpone(session, id, after(now, delay), progress, now))
    }))
)

const postpone = (
  session: Session,
  id: string,
  next: number,
  progress: RevocationProgress | undefined,
  now: number
): void => {
  session.run("UPDATE outbox SET due_at = ? WHERE id = ?", next, id)
  noteProgress(session, id, progress, now, { next })
}
