import * as Instruments from "@valetkey/domain/Instruments"
import { type Revocation, RevocationOutbox, unreadableDelay } from "@valetkey/domain/RevocationOutbox"
import type { RevocationProgress, TokenRevocation } from "@valetkey/domain/RevocationReceipt"
import { StoreError } from "@valetkey/domain/StoreError"
import { DateTime, type Duration, Effect, Layer, Metric, Option } from "effect"
import { Database, type Sql } from "./Database.ts"
import { after } from "./internal/databaseTime.ts"
import { decodeRevocation, insertRevocation, receiptIdOf, revocationColumns } from "./internal/revocationRows.ts"

/** Layer of `RevocationOutbox` on the table `revocations`. */
export const layer: Layer.Layer<RevocationOutbox, never, Database> = Layer.effect(
  RevocationOutbox,
  Effect.map(Database, (database) =>
    RevocationOutbox.of({
      enqueue: (revocation) =>
        database.forTenant(revocation.key.tenant).transaction("RevocationOutbox.enqueue", (sql) =>
          Effect.gen(function*() {
            yield* insertRevocation(sql, revocation, "late_result")
            if (revocation.issuedAt === undefined) {
              return undefined
            }
            // After the insert: what was not refused because the name had just been allowed is seen here.
            const former = yield* sql`SELECT FROM tenant_allowances WHERE tenant = ${revocation.key.tenant}
              AND allowed_at >= ${DateTime.toDateUtc(revocation.issuedAt)}::timestamptz`
            if (former.length > 0) {
              return yield* new StoreError({ code: "tenant_deleted", operation: "RevocationOutbox.enqueue" })
            }
          })),

      depth: database.acrossTenants.read(
        "RevocationOutbox.depth",
        (sql) =>
          Effect.map(
            sql<{ depth: number }>`SELECT count(*)::float8 AS depth FROM revocations`,
            ([row]) =>
              row?.depth ?? 0
          )
      ),

      take: (input) =>
        database.acrossTenants.write("RevocationOutbox.take", (sql) =>
          Effect.flatMap(
            sql`WITH due AS MATERIALIZED (
                SELECT tenant, id FROM revocations WHERE due_at <= (SELECT clock_timestamp())
                ORDER BY due_at LIMIT ${input.limit} FOR UPDATE SKIP LOCKED
              )
              UPDATE revocations SET attempts = attempts + 1,
                due_at = ${after(sql, input.lease)}
              FROM due WHERE revocations.tenant = due.tenant AND revocations.id = due.id
              RETURNING ${revocationColumns(sql)}`,
            Effect.succeed
          )).pipe(Effect.flatMap((rows) =>
            readable(database, rows)
          )),

      settle: (id, progress) =>
        database.acrossTenants.write("RevocationOutbox.settle", (sql) =>
          Effect.asVoid(sql`WITH done AS (
              DELETE FROM revocations WHERE id = ${id}
              RETURNING tenant, subject, server, id, attempts, created_at,
                access_token IS NOT NULL AS had_access, refresh_token IS NOT NULL AS had_refresh
            ), receipt AS (
              ${noted(sql, id, progress, "given_up")}
            )
            DELETE FROM connections USING done
            WHERE connections.tenant = done.tenant AND connections.subject = done.subject
              AND connections.server = done.server AND connections.status = 'revoking'`)),

      retry: (id, delay, progress) => postpone(database, id, delay, progress)
    }))
)

const postpone = (
  database: Database["Service"],
  id: string,
  delay: Duration.Duration,
  progress: RevocationProgress | undefined
) =>
  database.acrossTenants.write("RevocationOutbox.retry", (sql) =>
    Effect.asVoid(sql`WITH done AS (
        UPDATE revocations
        SET due_at = ${after(sql, delay)}
        WHERE id = ${id}
        RETURNING tenant, subject, server, id, attempts, created_at, due_at,
          access_token IS NOT NULL AS had_access, refresh_token IS NOT NULL AS had_refresh
      )
      ${noted(sql, id, progress, "pending")}`))

/** The entries of rows. What somebody wrote who does not know how stays where it is, and out of the way. */
const readable = Effect.fnUntraced(function*(database: Database["Service"], rows: ReadonlyArray<object>) {
  const entries: Array<Revocation> = []
  for (const row of rows) {
    const read = yield* Effect.option(decodeRevocation(row))
    if (Option.isSome(read)) {
      entries.push(read.value)
      continue
    }
    const id = "id" in row ? String(row.id) : ""
    yield* postpone(database, id, unreadableDelay, { error: "store_corrupt" })
    yield* Metric.update(Instruments.rowPutAside("revocations"), 1)
    yield* Effect.logError("a revocation cannot be read and is put aside", { receipt: receiptIdOf(id) })
  }
  return entries
})

/**
 * Writes the receipt of the entry in `done`: what attempts have brought, and what becomes of a token of which nothing is
 * told. A replica of the version before leaves entries without a receipt; they get it here.
 */
const noted = (sql: Sql, id: string, progress: RevocationProgress | undefined, rest: "given_up" | "pending") => {
  const isEnd = rest === "given_up"
  const next = sql.literal(isEnd ? "NULL" : "done.due_at")
  const end = sql.literal(isEnd ? "clock_timestamp()" : "NULL")
  const told = (column: "access_token" | "refresh_token", outcome: TokenRevocation | undefined) => {
    const was = sql.literal(isEnd ? `nullif(was.${column}, 'pending')` : `was.${column}`)
    return outcome === undefined || outcome === rest || outcome === "pending"
      ? sql`coalesce(${was}, ${rest}::text)`
      : sql`CASE WHEN ${was} = 'confirmed' THEN 'confirmed' ELSE ${outcome}::text END`
  }
  return sql`INSERT INTO revocation_receipts AS was (tenant, subject, server, id, revocation, cause, access_token,
      refresh_token, attempts, error, created_at, next_attempt_at, settled_at)
    SELECT tenant, subject, server, ${receiptIdOf(id)}, id, 'disconnect',
      CASE WHEN had_access THEN ${progress?.accessToken ?? rest}::text END,
      CASE WHEN had_refresh THEN ${progress?.refreshToken ?? rest}::text END,
      attempts, ${progress?.error ?? null}::text, date_trunc('milliseconds', created_at), ${next}, ${end}
    FROM done
    ON CONFLICT (tenant, subject, id) DO UPDATE SET
      access_token = CASE WHEN was.access_token IS NOT NULL THEN ${told("access_token", progress?.accessToken)} END,
      refresh_token = CASE WHEN was.refresh_token IS NOT NULL THEN ${told("refresh_token", progress?.refreshToken)} END,
      attempts = excluded.attempts, next_attempt_at = excluded.next_attempt_at, settled_at = excluded.settled_at,
      error = ${progress === undefined ? sql.literal("was.error") : sql.literal("excluded.error")}`
}
