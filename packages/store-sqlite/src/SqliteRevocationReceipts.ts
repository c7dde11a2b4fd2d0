import { forgettingOf } from "@valetkey/domain/RevocationOutbox"
import { RevocationReceipts } from "@valetkey/domain/RevocationReceipts"
import { Duration, Effect, Layer, Option } from "effect"
import { forgotten, type ReceiptColumns, receiptIdOf, receiptOf } from "./internal/revocationRows.ts"
import { SqliteDatabase } from "./SqliteDatabase.ts"

/** Layer of `RevocationReceipts` over the database. */
export const layer: Layer.Layer<RevocationReceipts, never, SqliteDatabase> = Layer.effect(
  RevocationReceipts,
  Effect.map(SqliteDatabase, (database) =>
    RevocationReceipts.of({
      get: ({ id, subject, tenant }) =>
        database.read("get", (session) => {
          const row = session.one<ReceiptColumns>(
            "SELECT * FROM revocation_receipts WHERE tenant = ? AND subject = ? AND id = ? AND cause <> ?",
            tenant,
            subject,
            id,
            forgotten
          )
          return row === undefined ? Option.none() : Option.some(receiptOf(row))
        }),

      list: ({ after, limit, server, subject, tenant }) =>
        database.read("list", (session) =>
          session.all<ReceiptColumns>(
            `SELECT * FROM revocation_receipts
             WHERE tenant = ? AND subject = ? AND cause <> ? AND (? IS NULL OR server = ?)
               AND (? IS NULL OR (created_at, id) < (SELECT created_at, id FROM revocation_receipts
                 WHERE tenant = ? AND subject = ? AND id = ?))
             ORDER BY created_at DESC, id DESC LIMIT ?`,
            tenant,
            subject,
            forgotten,
            server ?? null,
            server ?? null,
            after ?? null,
            tenant,
            subject,
            after ?? null,
            limit
          ).map(receiptOf)),

      isForgotten: (key, epoch) =>
        database.read("isForgotten", (session) =>
          session.one(
            "SELECT 1 FROM revocation_receipts WHERE tenant = ? AND subject = ? AND id = ? AND cause = ?",
            key.tenant,
            key.subject,
            receiptIdOf(forgettingOf(key, epoch)),
            forgotten
          ) !== undefined),

      sweep: ({ limit, olderThan }) =>
        database.write("sweep", (session, now) =>
          session.run(
            `DELETE FROM revocation_receipts WHERE revocation IN (
               SELECT revocation FROM revocation_receipts
               WHERE coalesce(settled_at, created_at) < ? AND revocation NOT IN (SELECT id FROM outbox)
               LIMIT ?)`,
            now - Duration.toMillis(olderThan),
            limit
          ))
    }))
)
