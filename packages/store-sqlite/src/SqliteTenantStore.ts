import type { FlowId } from "@valetkey/domain/Flow"
import type { TenantId } from "@valetkey/domain/Tenant"
import { TenantStore } from "@valetkey/domain/TenantStore"
import { DateTime, Duration, Effect, Layer, Option } from "effect"
import { type KeyColumns, keyOf } from "./internal/columns.ts"
import type { Session } from "./internal/openDatabase.ts"
import { SqliteDatabase } from "./SqliteDatabase.ts"

/** Layer of `TenantStore` over the database. Its triggers refuse what a deleted tenant would be given. */
export const layer: Layer.Layer<TenantStore, never, SqliteDatabase> = Layer.effect(
  TenantStore,
  Effect.map(SqliteDatabase, (database) =>
    TenantStore.of({
      begin: (tenant) =>
        database.write("begin", (session, now) => {
          if (deletionOf(session, tenant) !== undefined) return []
          const { quiet } = session.one<{ readonly quiet: number }>(
            `SELECT max(
               coalesce((SELECT max(lease_until) FROM flows WHERE tenant = ? AND state = 'exchanging'), 0),
               coalesce((SELECT max(lease_until) FROM connections WHERE tenant = ? AND phase <> 'idle'), 0),
               coalesce((SELECT max(poll_at) FROM flows WHERE tenant = ? AND poll_doubtful = 1), 0)
             ) AS quiet`,
            tenant,
            tenant,
            tenant
          )!
          const ended = session.all<{ readonly id: FlowId }>(
            `UPDATE flows SET state = 'cancelled', settled_at = ?, lease_until = 0, code_verifier = NULL,
               client_secret = NULL, code = NULL, authorization_url = NULL, device_code = NULL, poll_at = NULL
             WHERE tenant = ? AND state IN ('pending', 'awaiting_finalize', 'exchanging') RETURNING id`,
            now,
            tenant
          )
          session.run(
            `UPDATE connections SET status = 'quarantined', reason = NULL, phase = 'idle', lease_until = 0, updated_at = ?
             WHERE tenant = ? AND status IN ('active', 'needs_reauth')`,
            now,
            tenant
          )
          for (const table of ["registrations", "registration_turns", "servers", "api_keys", "console_sessions"]) {
            session.run(`DELETE FROM ${table} WHERE tenant = ?`, tenant)
          }
          session.run(
            "INSERT INTO tenant_deletions (tenant, requested_at, quiet_at) VALUES (?, ?, ?)",
            tenant,
            now,
            Math.max(now, quiet)
          )
          return ended.map(({ id }) => id)
        }),

      find: (tenant) =>
        database.read("find", (session) => {
          const row = deletionOf(session, tenant)
          return row === undefined ? Option.none() : Option.some({
            tenant,
            requestedAt: DateTime.makeUnsafe(row.requested_at),
            deletedAt: row.deleted_at === null ? undefined : DateTime.makeUnsafe(row.deleted_at),
            connections: countOf(session, "connections", tenant, "AND status <> 'revoking'"),
            revocations: countOf(session, "outbox", tenant)
          })
        }),

      isMarked: (tenant) =>
        database.read(
          "isMarked",
          (session) => session.tuple("SELECT 1 FROM tenant_deletions WHERE tenant = ?", tenant) !== undefined
        ),

      unfinished: database.read("unfinished", (session) =>
        session.all<{ readonly tenant: TenantId }>(
          "SELECT tenant FROM tenant_deletions WHERE deleted_at IS NULL ORDER BY requested_at"
        ).map(({ tenant }) => tenant)),

      connected: (tenant, limit) =>
        database.read("connected", (session) =>
          session.all<KeyColumns>(
            `SELECT tenant, subject, server FROM connections WHERE tenant = ? AND status <> 'revoking' LIMIT ?`,
            tenant,
            limit
          ).map(keyOf)),

      erase: (tenant, { limit, patience }) =>
        database.write("erase", (session, now) => {
          const deletion = deletionOf(session, tenant)
          if (deletion === undefined || deletion.deleted_at !== null) return "waiting" as const
          const isQuiet = deletion.quiet_at <= now && countOf(session, "outbox", tenant) === 0 &&
            countOf(session, "connections", tenant, "AND status <> 'revoking'") === 0
          if (!isQuiet && deletion.requested_at > now - Duration.toMillis(patience)) return "waiting" as const
          const removed = tables.map((table) =>
            session.run(
              `DELETE FROM ${table} WHERE rowid IN (SELECT rowid FROM ${table} WHERE tenant = ? LIMIT ?)`,
              tenant,
              limit
            )
          )
          if (removed.includes(limit)) return "more" as const
          session.run("DELETE FROM tenant_keys WHERE tenant = ?", tenant)
          session.run("UPDATE tenant_deletions SET deleted_at = ? WHERE tenant = ?", now, tenant)
          return "deleted" as const
        }).pipe(
          // What was overwritten stays in the log until the log begins anew: if not now, when the file is opened next.
          Effect.tap((outcome) =>
            outcome === "deleted"
              ? database.read("checkpoint", (session) => session.all("PRAGMA wal_checkpoint(TRUNCATE)")).pipe(
                Effect.catch((error) => Effect.logWarning("the log keeps a deleted tenant's data key", error))
              )
              : Effect.void
          )
        ),

      allow: (tenant) =>
        database.write("allow", (session, now) => {
          if (session.run("DELETE FROM tenant_deletions WHERE tenant = ? AND deleted_at IS NOT NULL", tenant) > 0) {
            session.run("INSERT OR REPLACE INTO tenant_allowances (tenant, allowed_at) VALUES (?, ?)", tenant, now)
          }
          return deletionOf(session, tenant) === undefined
        })
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
  "outbox",
  "revocation_receipts",
  "token_endpoints"
]

interface DeletionColumns {
  readonly requested_at: number
  readonly quiet_at: number
  readonly deleted_at: number | null
}

const deletionOf = (session: Session, tenant: TenantId): DeletionColumns | undefined =>
  session.one<DeletionColumns>(
    "SELECT requested_at, quiet_at, deleted_at FROM tenant_deletions WHERE tenant = ?",
    tenant
  )

const countOf = (session: Session, table: string, tenant: TenantId, condition = ""): number =>
  session.one<{ readonly count: number }>(
    `SELECT count(*) AS count FROM ${table} WHERE tenant = ? ${condition}`,
    tenant
  )!.count
