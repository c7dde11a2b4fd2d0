import { ConnectionKey } from "@valetkey/domain/Connection"
import { FlowId } from "@valetkey/domain/Flow"
import { TenantId } from "@valetkey/domain/Tenant"
import { TenantStore } from "@valetkey/domain/TenantStore"
import { type Duration, Effect, Layer, Option, Schema } from "effect"
import { Database, type Sql } from "./Database.ts"
import type { KeyColumns } from "./internal/columns.ts"
import { before } from "./internal/databaseTime.ts"
import { storeError } from "./internal/failure.ts"
import { openCondition, settledColumns } from "./internal/flowRows.ts"
import { tenantLock } from "./internal/migration9.ts"

/** Layer of `TenantStore` on the table `tenant_deletions`. Triggers of the database refuse what a deleted tenant would be given. */
export const layer: Layer.Layer<TenantStore, never, Database> = Layer.effect(
  TenantStore,
  Effect.map(Database, (database) =>
    TenantStore.of({
      begin: (tenant) =>
        Effect.gen(function*() {
          const own = database.forTenant(tenant)
          // Whoever goes on with a mark needs no lock: nothing becomes active any more.
          const isMarked = yield* own.read("TenantStore.begin", (sql) => hasMark(sql, tenant))
          const ended = isMarked ? [] : yield* own.transaction("TenantStore.begin", (sql) => mark(sql, tenant))
          // A statement has a deadline, and a tenant no bound.
          while ((yield* own.write("TenantStore.begin", (sql) => quarantine(sql, tenant))) > 0);
          return ended
        }),

      find: (tenant) =>
        database.forTenant(tenant).read("TenantStore.find", (sql) =>
          Effect.flatMap(
            sql`SELECT tenant, requested_at, deleted_at,
                (SELECT count(*)::float8 FROM connections
                  WHERE tenant = ${tenant} AND status <> 'revoking') AS connections,
                (SELECT count(*)::float8 FROM revocations WHERE tenant = ${tenant}) AS revocations
              FROM tenant_deletions WHERE tenant = ${tenant}`,
            ([row]) =>
              row === undefined
                ? Effect.succeedNone
                : Effect.mapBoth(decodeDeletion(row), {
                  onSuccess: ({ deletedAt, ...rest }) => Option.some({ ...rest, deletedAt: deletedAt ?? undefined }),
                  onFailure: (error) => storeError("TenantStore.find", error)
                })
          )),

      isMarked: (tenant) => database.forTenant(tenant).read("TenantStore.isMarked", (sql) => hasMark(sql, tenant)),

      unfinished: database.acrossTenants.read("TenantStore.unfinished", (sql) =>
        Effect.map(
          sql<{ tenant: string }>`SELECT tenant FROM tenant_deletions WHERE deleted_at IS NULL ORDER BY requested_at`,
          (rows) => rows.map(({ tenant }) => TenantId.make(tenant))
        )),

      connected: (tenant, limit) =>
        database.forTenant(tenant).read("TenantStore.connected", (sql) =>
          Effect.map(
            sql<KeyColumns>`SELECT tenant, subject, server FROM connections
              WHERE tenant = ${tenant} AND status <> 'revoking' LIMIT ${limit}`,
            (rows) => rows.map((row) => new ConnectionKey(row))
          )),

      erase: (tenant, { limit, patience }) =>
        database.forTenant(tenant).transaction("TenantStore.erase", (sql) =>
          Effect.gen(function*() {
            // Whoever waits keeps nobody from writing.
            if (!(yield* isDue(sql, tenant, patience))) return "waiting" as const
            yield* lockAlone(sql, tenant)
            if (!(yield* isDue(sql, tenant, patience))) return "waiting" as const
            for (const table of tables) {
              yield* sql`DELETE FROM ${sql(table)} WHERE ctid = ANY(ARRAY(
                SELECT ctid FROM ${sql(table)} WHERE tenant = ${tenant} LIMIT ${limit}
              ))`
            }
            // A row that somebody changed meanwhile has moved, and was not found where it had been.
            for (const table of tables) {
              if (yield* hasRows(sql`SELECT FROM ${sql(table)} WHERE tenant = ${tenant} LIMIT 1`)) {
                return "more" as const
              }
            }
            yield* sql`DELETE FROM tenant_keys WHERE tenant = ${tenant}`
            yield* sql`UPDATE tenant_deletions SET deleted_at = clock_timestamp() WHERE tenant = ${tenant}`
            return "deleted" as const
          })),

      allow: (tenant) =>
        database.forTenant(tenant).transaction("TenantStore.allow", (sql) =>
          Effect.gen(function*() {
            yield* sql`WITH lifted AS (
                DELETE FROM tenant_deletions WHERE tenant = ${tenant} AND deleted_at IS NOT NULL RETURNING tenant
              )
              INSERT INTO tenant_allowances (tenant, allowed_at) SELECT tenant, clock_timestamp() FROM lifted
              ON CONFLICT (tenant) DO UPDATE SET allowed_at = excluded.allowed_at`
            return !(yield* hasMark(sql, tenant))
          }))
    }))
)

/** Every table that holds rows of tenants, but for the audit trail, the data key and what is left of a name. */
const tables = [
  "flows",
  "connections",
  "registrations",
  "registration_turns",
  "client_documents",
  "servers",
  "api_keys",
  "console_sessions",
  "revocations",
  "revocation_receipts",
  "token_endpoints"
]

/** Marks a tenant that is not marked, and quarantines its connections as far as one statement should. */
const mark = Effect.fnUntraced(function*(sql: Sql, tenant: TenantId) {
  yield* lockAlone(sql, tenant)
  if (yield* hasMark(sql, tenant)) return []
  const [{ quiet } = { quiet: null }] = yield* sql<{ quiet: Date | null }>`SELECT greatest(
      (SELECT max(lease_until) FROM flows WHERE tenant = ${tenant} AND state = 'exchanging'),
      (SELECT max(lease_until) FROM connections WHERE tenant = ${tenant} AND phase <> 'idle'),
      (SELECT max(poll_at) FROM flows WHERE tenant = ${tenant} AND poll_doubtful)
    ) AS quiet`
  const ended = yield* sql<{ id: string }>`UPDATE flows SET state = 'cancelled', ${sql.literal(settledColumns)}
    WHERE tenant = ${tenant} AND latest AND ${sql.literal(openCondition)} RETURNING id`
  yield* quarantine(sql, tenant)
  for (const table of ["registrations", "registration_turns", "servers", "api_keys", "console_sessions"]) {
    yield* sql`DELETE FROM ${sql(table)} WHERE tenant = ${tenant}`
  }
  yield* sql`INSERT INTO tenant_deletions (tenant, requested_at, quiet_at)
    SELECT ${tenant}, now, greatest(now, ${quiet}::timestamptz) FROM (SELECT clock_timestamp() AS now) AS moment`
  return ended.map(({ id }) => FlowId.make(id))
})

/** Takes connections out of use, at most `atOnce` in the order of their keys; returns how many. */
const quarantine = (sql: Sql, tenant: TenantId) =>
  Effect.map(
    sql`WITH used AS MATERIALIZED (
        SELECT tenant, subject, server FROM connections
        WHERE tenant = ${tenant} AND status IN ('active', 'needs_reauth')
        ORDER BY tenant, subject, server LIMIT ${atOnce} FOR UPDATE
      )
      UPDATE connections SET status = 'quarantined', reauth_reason = NULL, phase = 'idle', lease_until = NULL,
        updated_at = clock_timestamp()
      FROM used WHERE connections.tenant = used.tenant AND connections.subject = used.subject
        AND connections.server = used.server
      RETURNING connections.generation`,
    (rows) => rows.length
  )

const atOnce = 10_000

/** Waits for whoever is writing a row of the tenant, and has whoever begins to refused. Ends with the transaction. */
const lockAlone = (sql: Sql, tenant: TenantId) =>
  sql`SELECT pg_advisory_xact_lock(${
    sql.literal(tenantLock("key.tenant"))
  }) FROM (SELECT ${tenant}::text AS tenant) AS key`

const hasMark = (sql: Sql, tenant: TenantId) => hasRows(sql`SELECT FROM tenant_deletions WHERE tenant = ${tenant}`)

/** Whether the rows of a marked tenant may be removed now. */
const isDue = (sql: Sql, tenant: TenantId, patience: Duration.Duration) =>
  hasRows(sql`SELECT FROM tenant_deletions
    WHERE tenant = ${tenant} AND deleted_at IS NULL AND (
      requested_at <= ${before(sql, patience)}
      OR quiet_at <= clock_timestamp()
        AND NOT EXISTS (SELECT FROM connections WHERE tenant = ${tenant} AND status <> 'revoking')
        AND NOT EXISTS (SELECT FROM revocations WHERE tenant = ${tenant})
    )`)

const hasRows = <E>(rows: Effect.Effect<ReadonlyArray<unknown>, E>): Effect.Effect<boolean, E> =>
  Effect.map(rows, (rows) => rows.length > 0)

const decodeDeletion = Schema.decodeUnknownEffect(Schema.Struct({
  tenant: TenantId,
  requestedAt: Schema.DateTimeUtcFromDate,
  deletedAt: Schema.NullOr(Schema.DateTimeUtcFromDate),
  connections: Schema.Natural,
  revocations: Schema.Natural
}))
