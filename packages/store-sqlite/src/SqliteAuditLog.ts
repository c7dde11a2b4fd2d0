import * as AuditChain from "@valetkey/domain/AuditChain"
import type { AuditEntry, AuditEvent } from "@valetkey/domain/AuditEvent"
import { type AuditHead, AuditLog, type PrunedChain } from "@valetkey/domain/AuditLog"
import { Digest } from "@valetkey/domain/Entropy"
import type { ServerSlug } from "@valetkey/domain/Server"
import type { TenantId } from "@valetkey/domain/Tenant"
import { DateTime, Duration, Effect, Layer } from "effect"
import { hash } from "node:crypto"
import type { Session } from "./internal/openDatabase.ts"
import { SqliteDatabase } from "./SqliteDatabase.ts"

/** Layer of `AuditLog` over the database. */
export const layer: Layer.Layer<AuditLog, never, SqliteDatabase> = Layer.effect(
  AuditLog,
  Effect.map(SqliteDatabase, (database) =>
    AuditLog.of({
      append: (events) =>
        database.write("append", (session, now) => {
          for (const [tenant, own] of AuditChain.byTenant(events)) {
            appendOwn(session, tenant, headOf(session, tenant), own, now)
          }
        }),

      read: ({ after, limit, tenant }) =>
        database.read("read", (session) =>
          session.all<AuditColumns>(
            "SELECT * FROM audit WHERE tenant = ? AND seq > ? ORDER BY seq LIMIT ?",
            tenant,
            after,
            limit
          ).map(entryOf)),

      history: ({ before, limit, server, subject, tenant }) =>
        database.read("history", (session) =>
          session.all<AuditColumns>(
            `SELECT * FROM audit WHERE ${ofConnection} AND (? IS NULL OR seq < (
               SELECT seq FROM audit WHERE ${ofConnection} AND hash = ?
             )) ORDER BY seq DESC LIMIT ?`,
            tenant,
            subject,
            server,
            before ?? null,
            tenant,
            subject,
            server,
            before ?? null,
            limit
          ).map(entryOf)),

      lastUses: ({ servers, subject, tenant }) =>
        database.read("lastUses", (session) =>
          new Map(servers.flatMap((server) => {
            const row = session.one<Pick<AuditColumns, "at">>(
              `SELECT at FROM audit WHERE tenant = ? AND subject = ? AND server = ? AND action = 'token.read'
               ORDER BY seq DESC LIMIT 1`,
              tenant,
              subject,
              server
            )
            return row === undefined ? [] : [[server, DateTime.makeUnsafe(row.at)] as const]
          }))),

      head: (tenant) => database.read("head", (session) => headOf(session, tenant)),

      prune: ({ limit, olderThan }) =>
        database.write("prune", (session, now) => {
          const before = now - Duration.toMillis(olderThan)
          const tenants = session.all<{ readonly tenant: TenantId }>(
            "SELECT DISTINCT tenant FROM audit WHERE at < ?",
            before
          )
          const pruned = new Array<PrunedChain>()
          for (const { tenant } of tenants) {
            const head = headOf(session, tenant)
            let anchor = head.anchor
            for (
              const entry of session.all<AuditColumns>(
                "SELECT * FROM audit WHERE tenant = ? AND seq > ? ORDER BY seq LIMIT ?",
                tenant,
                anchor.seq,
                limit
              )
            ) {
              if (entry.at >= before || entry.seq !== anchor.seq + 1) break
              anchor = { seq: entry.seq, hash: entry.hash }
            }
            if (anchor === head.anchor) continue
            const removed = session.run("DELETE FROM audit WHERE tenant = ? AND seq <= ?", tenant, anchor.seq)
            pruned.push({ tenant, removed })
            appendOwn(session, tenant, { ...head, anchor }, [AuditChain.prunedEvent(tenant, removed)], now)
          }
          return pruned
        })
    }))
)

const ofConnection =
  "tenant = ? AND subject = ? AND server = ? AND action <> 'token.read' AND action NOT LIKE 'server.%'"

interface AuditColumns
  extends Omit<AuditEntry, "at" | "from" | "server" | "generation" | "fingerprint" | "count" | "target" | "answer">
{
  /** Empty when the event concerns none. */
  readonly server: ServerSlug | ""
  readonly at: number
  readonly origin: AuditEntry["from"]
  readonly generation: number | null
  readonly fingerprint: string | null
  readonly count: number | null
  readonly target: string | null
  readonly answer: string | null
}

interface HeadColumns {
  readonly seq: number
  readonly hash: Digest
  readonly anchor_seq: number
  readonly anchor_hash: Digest
}

const hasher: AuditChain.Hasher = (text) => Digest.make(hash("sha256", text, "base64url"))

const headOf = (session: Session, tenant: TenantId): AuditHead => {
  const row = session.one<HeadColumns>("SELECT * FROM audit_heads WHERE tenant = ?", tenant)
  return row === undefined
    ? AuditChain.empty
    : { seq: row.seq, hash: row.hash, anchor: { seq: row.anchor_seq, hash: row.anchor_hash } }
}

/** Links events to a chain that ends, and begins, as the head says. */
const appendOwn = (
  session: Session,
  tenant: TenantId,
  head: AuditHead,
  events: ReadonlyArray<AuditEvent>,
  now: number
): void => {
  const entries = AuditChain.link(hasher, head, events, now)
  for (const entry of entries) insert(session, entry)
  const { hash, seq } = entries.at(-1)!
  writeHead(session, tenant, { ...head, seq, hash })
}

const writeHead = (session: Session, tenant: TenantId, { anchor, hash, seq }: AuditHead): void => {
  session.run(
    "INSERT OR REPLACE INTO audit_heads (tenant, seq, hash, anchor_seq, anchor_hash) VALUES (?, ?, ?, ?, ?)",
    tenant,
    seq,
    hash,
    anchor.seq,
    anchor.hash
  )
}

const insert = (session: Session, entry: AuditEntry): void => {
  session.run(
    `INSERT INTO audit (tenant, seq, at, subject, server, action, outcome, principal, origin, generation, fingerprint,
       count, target, answer, previous, hash)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    entry.tenant,
    entry.seq,
    DateTime.toEpochMillis(entry.at),
    entry.subject,
    entry.server ?? "",
    entry.action,
    entry.outcome,
    entry.principal,
    entry.from,
    entry.generation ?? null,
    entry.fingerprint ?? null,
    entry.count ?? null,
    entry.target ?? null,
    entry.answer ?? null,
    entry.previous,
    entry.hash
  )
}

const entryOf = (
  { answer, at, count, fingerprint, generation, origin, server, target, ...row }: AuditColumns
): AuditEntry => ({
  ...row,
  from: origin,
  at: DateTime.makeUnsafe(at),
  ...(generation === null ? undefined : { generation }),
  ...(fingerprint === null ? undefined : { fingerprint }),
  ...(count === null ? undefined : { count }),
  ...(server === "" ? undefined : { server }),
  ...(target === null ? undefined : { target }),
  ...(answer === null ? undefined : { answer })
})
