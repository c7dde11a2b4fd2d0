import { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { StoreError } from "@valetkey/domain/StoreError"
import { Effect, Layer } from "effect"
import { after } from "./internal/columns.ts"
import { addRevocation, noteProgress, type RevocationColumns, revocationOf } from "./internal/revocationRows.ts"
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
        database.write("take", (session, now) =>
          session.all<RevocationColumns>(
            `UPDATE outbox SET attempts = attempts + 1, due_at = ?
             WHERE id IN (SELECT id FROM outbox WHERE due_at <= ? ORDER BY due_at LIMIT ?) RETURNING *`,
            after(now, lease),
            now,
            limit
          ).map(revocationOf)),

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
        database.write("retry", (session, now) => {
          const next = after(now, delay)
          session.run("UPDATE outbox SET due_at = ? WHERE id = ?", next, id)
          noteProgress(session, id, progress, now, { next })
        })
    }))
)
