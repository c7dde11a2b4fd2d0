import { forgettingOf } from "@valetkey/domain/RevocationOutbox"
import { ReceiptId, RevocationCause, type RevocationReceipt, TokenRevocation } from "@valetkey/domain/RevocationReceipt"
import { RevocationReceipts } from "@valetkey/domain/RevocationReceipts"
import { Effect, Layer, Schema } from "effect"
import { Database, type Sql } from "./Database.ts"
import { keyColumns, keyOf } from "./internal/columns.ts"
import { before } from "./internal/databaseTime.ts"
import { storeError } from "./internal/failure.ts"
import { forgotten, receiptIdOf } from "./internal/revocationRows.ts"

/** Layer of `RevocationReceipts` on the table `revocation_receipts`. */
export const layer: Layer.Layer<RevocationReceipts, never, Database> = Layer.effect(
  RevocationReceipts,
  Effect.map(Database, (database) =>
    RevocationReceipts.of({
      get: ({ id, subject, tenant }) =>
        database.forTenant(tenant).read("RevocationReceipts.get", (sql) =>
          sql`SELECT ${columns(sql)} FROM revocation_receipts
            WHERE tenant = ${tenant} AND subject = ${subject} AND id = ${id} AND cause <> ${forgotten}`.pipe(
            Effect.flatMap(([row]) =>
              row === undefined ? Effect.succeedNone : Effect.asSome(read("RevocationReceipts.get", row))
            )
          )),

      list: ({ after, limit, server, subject, tenant }) =>
        database.forTenant(tenant).read("RevocationReceipts.list", (sql) =>
          sql`SELECT ${columns(sql)} FROM revocation_receipts
            WHERE tenant = ${tenant} AND subject = ${subject} AND cause <> ${forgotten}
              ${server === undefined ? sql.literal("") : sql`AND server = ${server}`}
              ${
            after === undefined ? sql.literal("") : sql`AND (created_at, id) < (SELECT created_at, id
                FROM revocation_receipts WHERE tenant = ${tenant} AND subject = ${subject} AND id = ${after})`
          }
            ORDER BY created_at DESC, id DESC LIMIT ${limit}`.pipe(
            Effect.flatMap(Effect.forEach((row) =>
              read("RevocationReceipts.list", row)
            ))
          )),

      isForgotten: (key, epoch) =>
        database.forTenant(key.tenant).read("RevocationReceipts.isForgotten", (sql) =>
          Effect.map(
            sql`SELECT 1 FROM revocation_receipts WHERE tenant = ${key.tenant} AND subject = ${key.subject}
              AND id = ${receiptIdOf(forgettingOf(key, epoch))} AND cause = ${forgotten}`,
            (rows) =>
              rows.length > 0
          )),

      sweep: ({ limit, olderThan }) =>
        database.acrossTenants.write("RevocationReceipts.sweep", (sql) =>
          Effect.map(
            sql`DELETE FROM revocation_receipts USING (
                SELECT tenant, subject, id FROM revocation_receipts
                WHERE coalesce(settled_at, created_at)
                    < ${before(sql, olderThan)}
                  AND NOT EXISTS (SELECT FROM revocations
                    WHERE revocations.tenant = revocation_receipts.tenant
                      AND revocations.id = revocation_receipts.revocation)
                LIMIT ${limit}
              ) AS old
              WHERE revocation_receipts.tenant = old.tenant AND revocation_receipts.subject = old.subject
                AND revocation_receipts.id = old.id
              RETURNING 1`,
            (rows) =>
              rows.length
          ))
    }))
)

const columns = (sql: Sql) =>
  sql.literal(
    `tenant, subject, server, id, cause, access_token, refresh_token, access_token_expires_at, attempts, error,
    created_at, next_attempt_at, settled_at`
  )

const Row = Schema.Struct({
  ...keyColumns,
  id: ReceiptId,
  cause: RevocationCause,
  accessToken: Schema.NullOr(TokenRevocation),
  refreshToken: Schema.NullOr(TokenRevocation),
  accessTokenExpiresAt: Schema.NullOr(Schema.DateTimeUtcFromDate),
  attempts: Schema.Natural,
  error: Schema.NullOr(Schema.String),
  createdAt: Schema.DateTimeUtcFromDate,
  nextAttemptAt: Schema.NullOr(Schema.DateTimeUtcFromDate),
  settledAt: Schema.NullOr(Schema.DateTimeUtcFromDate)
})

const decode = Schema.decodeUnknownEffect(Row)

const read = (operation: string, row: unknown) =>
  decode(row).pipe(
    Effect.map(({ server, subject, tenant, ...row }): RevocationReceipt => ({
      id: row.id,
      key: keyOf({ tenant, subject, server }),
      cause: row.cause,
      createdAt: row.createdAt,
      attempts: row.attempts,
      ...(row.accessToken === null ? {} : { accessToken: row.accessToken }),
      ...(row.refreshToken === null ? {} : { refreshToken: row.refreshToken }),
      ...(row.accessTokenExpiresAt === null ? {} : { accessTokenExpiresAt: row.accessTokenExpiresAt }),
      ...(row.error === null ? {} : { error: row.error }),
      ...(row.nextAttemptAt === null ? {} : { nextAttemptAt: row.nextAttemptAt }),
      ...(row.settledAt === null ? {} : { settledAt: row.settledAt })
    })),
    Effect.mapError((error) => storeError(operation, error))
  )
