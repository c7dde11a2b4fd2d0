import type { ReauthReason } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { longestPause } from "@valetkey/domain/Pacing"
import { type AttemptPolicy, maxAttempts, type RefreshFailure, retryDelay } from "@valetkey/domain/Refresh"
import { forgettingOf } from "@valetkey/domain/RevocationOutbox"
import { DateTime, Duration, Effect, Layer, Option, type Schema } from "effect"
import { Database, type Sql } from "./Database.ts"
import { makeClaim } from "./internal/claims.ts"
import { commits, marks, readStatement } from "./internal/connectionGroups.ts"
import { connectionColumns, decodeConnection, ofKey, plannedAt, writeConnection } from "./internal/connectionRows.ts"
import { after } from "./internal/databaseTime.ts"
import { endConnection, replaceConnection } from "./internal/endConnection.ts"
import { storeError } from "./internal/failure.ts"
import { makeGroupedRows } from "./internal/groupedRows.ts"
import { forgotten, receiptIdOf } from "./internal/revocationRows.ts"

/** Layer of `ConnectionStore` on the table `connections`. What many refreshes ask for at the same time is one statement. */
export const layer: Layer.Layer<ConnectionStore, never, Database> = Layer.effect(
  ConnectionStore,
  Effect.gen(function*() {
    const database = yield* Database
    const claim = yield* makeClaim(database)
    const get = yield* makeGroupedRows(database, {
      operation: "ConnectionStore.get",
      way: "read",
      statement: readStatement,
      answer: (row) =>
        row === undefined ? Effect.succeedNone : Effect.map(read("ConnectionStore.get", row), Option.some)
    })
    const mark = yield* makeGroupedRows(database, {
      operation: "ConnectionStore.markSent",
      way: "write",
      ...marks,
      answer: isThere
    })
    const commit = yield* makeGroupedRows(database, {
      operation: "ConnectionStore.commit",
      way: "write",
      ...commits,
      answer: isThere
    })

    return ConnectionStore.of({
      get: (key) => get({ key }),

      list: (input) =>
        database.forTenant(input.tenant).read("ConnectionStore.list", (sql) =>
          Effect.flatMap(
            sql`SELECT ${connectionColumns(sql)} FROM connections
              WHERE tenant = ${input.tenant} AND subject = ${input.subject} AND server > ${input.after ?? ""}
              ORDER BY server LIMIT ${input.limit}`,
            Effect.forEach((row) => read("ConnectionStore.list", row))
          )),

      claim: (key, input) =>
        claim(key, input).pipe(
          Effect.repeat({ times: 1, until: (outcome) => outcome !== undefined }),
          Effect.map((outcome) => outcome ?? { _tag: "Busy", remaining: ofLock })
        ),

      markSent: (key, input) => mark({ key, ...input }),

      commit: (key, input) => commit({ key, ...input }),

      isCommitted: (key, resultId) =>
        database.forTenant(key.tenant).read(
          "ConnectionStore.isCommitted",
          (sql) => changed(sql`SELECT generation FROM connections WHERE ${ofKey(sql, key)} AND result_id = ${resultId}`)
        ),

      fail: (key, input) =>
        database.forTenant(key.tenant).write("ConnectionStore.fail", (sql) =>
          changed(sql`UPDATE connections
            SET phase = 'idle', lease_until = NULL, ${failureColumns(sql, input)}
            WHERE ${ofKey(sql, key)} AND generation = ${input.generation} AND epoch = ${input.epoch}
              AND fence = ${input.fence} AND status = 'active' AND phase <> 'idle'
            RETURNING fence`)),

      reject: (key, { epoch, generation }) =>
        database.forTenant(key.tenant).write("ConnectionStore.reject", (sql) =>
          Effect.asVoid(sql`UPDATE connections
            SET rejected_generation = generation, updated_at = clock_timestamp()
            WHERE ${ofKey(sql, key)} AND generation = ${generation} AND epoch = ${epoch}
              AND rejected_generation IS DISTINCT FROM generation`)),

      setExpiry: (key, { epoch, expiresAt, generation }) =>
        database.forTenant(key.tenant).write("ConnectionStore.setExpiry", (sql) => {
          const end = sql`${DateTime.toDateUtc(expiresAt)}::timestamptz`
          return changed(sql`UPDATE connections
            SET expires_at = ${end}, renew_at = ${plannedAt(sql, end, sql`refresh_expires_at`)},
              updated_at = clock_timestamp()
            WHERE ${ofKey(sql, key)} AND generation = ${generation} AND epoch = ${epoch}
            RETURNING 1`)
        }),

      deposit: (key, input) =>
        input.owesFormer === true
          ? database.forTenant(key.tenant).transaction("ConnectionStore.deposit", (sql) =>
            readable("ConnectionStore.deposit", replaceConnection(sql, key, input)))
          : database.forTenant(key.tenant).write("ConnectionStore.deposit", (sql) =>
            writeConnection(sql, key, input)),

      disconnect: (key, epoch) =>
        database.forTenant(key.tenant).transaction(
          "ConnectionStore.disconnect",
          (sql) => readable("ConnectionStore.disconnect", endConnection(sql, key, epoch))
        ),

      forget: (key, { epoch, generation }) =>
        database.forTenant(key.tenant).write("ConnectionStore.forget", (sql) =>
          changed(sql`WITH gone AS (
              DELETE FROM connections
              WHERE ${ofKey(sql, key)} AND generation = ${generation} AND epoch = ${epoch}
                AND status <> 'revoking' AND phase = 'idle' AND (status <> 'active' OR attempts = 0)
              RETURNING tenant, subject, server
            ), mark AS (
              INSERT INTO revocation_receipts (tenant, subject, server, id, revocation, cause, attempts, created_at,
                settled_at)
              SELECT tenant, subject, server, ${receiptIdOf(forgettingOf(key, epoch))}::text,
                ${forgettingOf(key, epoch)}::text, ${forgotten}::text, 0, clock_timestamp(), clock_timestamp()
              FROM gone
              ON CONFLICT DO NOTHING
            )
            SELECT 1 FROM gone`))
    })
  })
)

/** A row that cannot be read is a failure of the store. */
const readable = <A, E, R>(operation: string, effect: Effect.Effect<A, E | Schema.SchemaError, R>) =>
  Effect.catchTag(effect, "SchemaError", (error) => Effect.fail(storeError(operation, error)))

// How long whoever has a row locked is given before the next claim.
const ofLock = Duration.millis(100)

const failureColumns = (sql: Sql, { failure, lost = "unknown_outcome", policy }: {
  readonly failure: RefreshFailure
  readonly lost?: ReauthReason | undefined
  readonly policy: AttemptPolicy
}) => {
  switch (failure._tag) {
    case "Terminal":
      return sql`attempts = 0, status = 'needs_reauth', updated_at = clock_timestamp(),
        reauth_reason = CASE WHEN attempts > 1 THEN ${lost}::text ELSE ${failure.reason}::text END`
    case "Retryable": {
      const over = failure.unclear === true
        ? sql`(phase = 'sent' AND attempts > 1 AND attempts >= ${maxAttempts(policy)})`
        : sql`false`
      return sql`status = CASE WHEN ${over} THEN 'needs_reauth' ELSE status END,
        reauth_reason = CASE WHEN ${over} THEN ${lost}::text END,
        attempts = CASE WHEN phase = 'sent' AND NOT ${over} THEN attempts - 1 ELSE attempts END,
        not_before = CASE WHEN ${over} THEN not_before ELSE ${
        after(sql, Duration.min(failure.delay, longestPause))
      } END,
        updated_at = clock_timestamp()`
    }
    case "UnknownOutcome": {
      const over = sql`attempts >= ${maxAttempts(policy)}`
      return sql`status = CASE WHEN ${over} THEN 'needs_reauth' ELSE status END,
        reauth_reason = CASE WHEN ${over} THEN ${lost}::text END,
        not_before = CASE WHEN ${over} THEN not_before ELSE ${after(sql, retryDelay)} END,
        updated_at = clock_timestamp()`
    }
  }
}

const changed = <E>(rows: Effect.Effect<ReadonlyArray<unknown>, E>): Effect.Effect<boolean, E> =>
  Effect.map(rows, (rows) => rows.length > 0)

const isThere = (row: unknown) => Effect.succeed(row !== undefined)

const read = (operation: string, row: unknown) =>
  Effect.mapError(decodeConnection(row), (error) => storeError(operation, error))
