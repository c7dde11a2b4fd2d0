import type { ConnectionKey, Epoch, Generation, ReauthReason } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import {
  type AttemptPolicy,
  type ClaimOutcome,
  decideClaim,
  maxAttempts,
  type RefreshFailure,
  retryDelay
} from "@valetkey/domain/Refresh"
import { forgettingOf } from "@valetkey/domain/RevocationOutbox"
import type { StoreError } from "@valetkey/domain/StoreError"
import { Duration, Effect, Layer, Option } from "effect"
import { Database, type Sql } from "./Database.ts"
import {
  connectionColumns,
  credentialColumns,
  decodeConnection,
  decodeRefresh,
  ofKey,
  refreshColumns,
  writeConnection
} from "./internal/connectionRows.ts"
import { endConnection } from "./internal/endConnection.ts"
import { storeError } from "./internal/failure.ts"
import { forgotten, receiptIdOf } from "./internal/revocationRows.ts"

/** Layer of `ConnectionStore` on the table `connections`. */
export const layer: Layer.Layer<ConnectionStore, never, Database> = Layer.effect(
  ConnectionStore,
  Effect.map(Database, (database) =>
    ConnectionStore.of({
      get: (key) =>
        database.forTenant(key.tenant).read("ConnectionStore.get", (sql) =>
          Effect.flatMap(
            sql`SELECT ${connectionColumns(sql)} FROM connections WHERE ${ofKey(sql, key)}`,
            ([row]) =>
              row === undefined ? Effect.succeedNone : Effect.map(read("ConnectionStore.get", row), Option.some)
          )),

      list: (input) =>
        database.forTenant(input.tenant).read("ConnectionStore.list", (sql) =>
          Effect.flatMap(
            sql`SELECT ${connectionColumns(sql)} FROM connections
              WHERE tenant = ${input.tenant} AND subject = ${input.subject} AND server > ${input.after ?? ""}
              ORDER BY server LIMIT ${input.limit}`,
            Effect.forEach((row) => read("ConnectionStore.list", row))
          )),

      claim: (key, input) =>
        attemptClaim(database, key, input).pipe(
          Effect.repeat({ times: 3, until: (outcome) => outcome !== undefined }),
          Effect.map((outcome) => outcome ?? { _tag: "Busy", remaining: Duration.zero })
        ),

      markSent: (key, input) =>
        database.forTenant(key.tenant).write("ConnectionStore.markSent", (sql) =>
          changed(sql`UPDATE connections
            SET phase = 'sent', attempts = attempts + 1, lease_until = ${after(sql, input.lease)}
            WHERE ${ofKey(sql, key)} AND generation = ${input.generation} AND epoch = ${input.epoch}
              AND fence = ${input.fence} AND status = 'active' AND phase = 'claimed'
            RETURNING fence`)),

      commit: (key, input) =>
        database.forTenant(key.tenant).write("ConnectionStore.commit", (sql) =>
          changed(sql`UPDATE connections
            SET generation = generation + 1, result_id = ${input.resultId}, rejected_generation = NULL,
              forced = rejected_generation IS NOT DISTINCT FROM generation,
              ${credentialColumns(sql, input.credentials)}
            WHERE ${ofKey(sql, key)} AND generation = ${input.generation} AND epoch = ${input.epoch}
              AND status IN ('active', 'needs_reauth')
            RETURNING generation`)),

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

      deposit: (key, input) =>
        database.forTenant(key.tenant).write("ConnectionStore.deposit", (sql) => writeConnection(sql, key, input)),

      disconnect: (key, epoch) =>
        database.forTenant(key.tenant).transaction("ConnectionStore.disconnect", (sql) =>
          Effect.catchTag(
            endConnection(sql, key, epoch),
            "SchemaError",
            (error) => Effect.fail(storeError("ConnectionStore.disconnect", error))
          )),

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
    }))
)

interface Claim {
  readonly generation: Generation
  readonly epoch: Epoch
  readonly policy: AttemptPolicy
  readonly lost?: ReauthReason | undefined
  readonly lease: Duration.Duration
}

/** The fast path: one statement, which takes the lease if the rules of `Refresh.decideClaim` give it. */
const attemptClaim = (
  database: Database["Service"],
  key: ConnectionKey,
  input: Claim
): Effect.Effect<ClaimOutcome | undefined, StoreError> =>
  Effect.flatMap(
    database.forTenant(key.tenant).write("ConnectionStore.claim", (sql) =>
      sql<{ fence: number }>`UPDATE connections
        SET phase = 'claimed', fence = fence + 1, lease_until = ${after(sql, input.lease)}
        WHERE ${ofKey(sql, key)} AND generation = ${input.generation} AND epoch = ${input.epoch}
          AND status = 'active' AND (phase = 'idle' OR lease_until <= clock_timestamp())
          AND (not_before IS NULL OR not_before <= clock_timestamp())
          AND attempts < ${maxAttempts(input.policy)}
        RETURNING fence`),
    ([row]) => row === undefined ? whyNot(database, key, input) : Effect.succeed({ _tag: "Claimed", fence: row.fence })
  )

/** Why the fast path took nothing, by the rules themselves. Undefined when the claim came free in between. */
const whyNot = (
  database: Database["Service"],
  key: ConnectionKey,
  input: Claim
): Effect.Effect<ClaimOutcome | undefined, StoreError> =>
  database.forTenant(key.tenant).write("ConnectionStore.claim", (sql) =>
    Effect.gen(function*() {
      const [row] = yield* sql`SELECT ${refreshColumns(sql)} FROM connections WHERE ${ofKey(sql, key)}`
      if (row === undefined) return { _tag: "Moved" as const }
      const { now, state } = yield* decodeRefresh(row).pipe(
        Effect.mapError((error) => storeError("ConnectionStore.claim", error))
      )
      const { next, outcome } = decideClaim(state, { ...input, now })
      if (outcome._tag === "Claimed") return undefined
      if (next?.status._tag === "needs_reauth") {
        const ended = yield* sql`UPDATE connections
          SET phase = 'idle', lease_until = NULL, ${needsReauth(sql, next.status.reason)}
          WHERE ${ofKey(sql, key)} AND generation = ${state.generation} AND epoch = ${state.epoch}
            AND fence = ${state.fence} AND status = 'active' AND attempts >= ${maxAttempts(input.policy)}
            AND (phase = 'idle' OR lease_until <= clock_timestamp())
          RETURNING generation`
        // Somebody else was first, and is told of it.
        if (ended.length === 0) return { _tag: "Moved" as const }
      }
      return outcome
    }))

const failureColumns = (sql: Sql, { failure, lost = "unknown_outcome", policy }: {
  readonly failure: RefreshFailure
  readonly lost?: ReauthReason | undefined
  readonly policy: AttemptPolicy
}) => {
  switch (failure._tag) {
    case "Terminal":
      return sql`attempts = 0, status = 'needs_reauth', updated_at = clock_timestamp(),
        reauth_reason = CASE WHEN attempts > 1 THEN ${lost}::text ELSE ${failure.reason}::text END`
    case "Retryable":
      return sql`attempts = CASE WHEN phase = 'sent' THEN attempts - 1 ELSE attempts END,
        not_before = ${after(sql, failure.delay)}, updated_at = clock_timestamp()`
    case "UnknownOutcome": {
      const over = sql`attempts >= ${maxAttempts(policy)}`
      return sql`status = CASE WHEN ${over} THEN 'needs_reauth' ELSE status END,
        reauth_reason = CASE WHEN ${over} THEN ${lost}::text END,
        not_before = CASE WHEN ${over} THEN not_before ELSE ${after(sql, retryDelay)} END,
        updated_at = clock_timestamp()`
    }
  }
}

const needsReauth = (sql: Sql, reason: ReauthReason) =>
  sql`status = 'needs_reauth', reauth_reason = ${reason}, updated_at = clock_timestamp()`

const after = (sql: Sql, duration: Duration.Duration) =>
  sql`clock_timestamp() + ${Duration.toMillis(duration)}::float8 * interval '1 millisecond'`

const changed = <E>(rows: Effect.Effect<ReadonlyArray<unknown>, E>): Effect.Effect<boolean, E> =>
  Effect.map(rows, (rows) => rows.length > 0)

const read = (operation: string, row: unknown) =>
  Effect.mapError(decodeConnection(row), (error) => storeError(operation, error))
