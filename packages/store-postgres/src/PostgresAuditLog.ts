import * as AuditChain from "@valetkey/domain/AuditChain"
import { AuditEntry, type AuditEvent } from "@valetkey/domain/AuditEvent"
import { type AuditHead, AuditLog, type PrunedChain } from "@valetkey/domain/AuditLog"
import { Digest } from "@valetkey/domain/Entropy"
import { ServerSlug } from "@valetkey/domain/Server"
import type { StoreError } from "@valetkey/domain/StoreError"
import type { TenantId } from "@valetkey/domain/Tenant"
import { DateTime, Effect, Layer, Schema } from "effect"
import { createHash } from "node:crypto"
import { Database, type Sql } from "./Database.ts"
import { before } from "./internal/databaseTime.ts"
import { storeError } from "./internal/failure.ts"

/** Layer of `AuditLog` on the tables `audit` and `audit_heads`. */
export const layer: Layer.Layer<AuditLog, never, Database> = Layer.effect(
  AuditLog,
  Effect.map(Database, (database) => {
    const appendOwn = (tenant: TenantId, events: ReadonlyArray<AuditEvent>) =>
      database.forTenant(tenant).transaction("AuditLog.append", (sql) =>
        Effect.gen(function*() {
          // Makes or locks the row that holds the end of the chain, and says what it is, in one statement.
          const [row] = yield* sql`INSERT INTO audit_heads (tenant, seq, hash, anchor_seq, anchor_hash)
            VALUES (${tenant}, 0, ${AuditChain.genesis}, 0, ${AuditChain.genesis})
            ON CONFLICT (tenant) DO UPDATE SET tenant = excluded.tenant
            RETURNING seq::float8, hash, floor(extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now`
          yield* linkTo(sql, tenant, row, events)
        }).pipe(corrupt("AuditLog.append")))

    return AuditLog.of({
      append: (events) =>
        Effect.forEach(AuditChain.byTenant(events), ([tenant, own]) => appendOwn(tenant, own), {
          discard: true,
          concurrency: 4
        }),

      read: ({ after, limit, tenant }) =>
        database.forTenant(tenant).read(
          "AuditLog.read",
          (sql) =>
            sql`SELECT ${
              sql.literal(entryColumns)
            } FROM audit WHERE tenant = ${tenant} AND seq > ${after} ORDER BY seq LIMIT ${limit}`.pipe(
              Effect.flatMap((rows) => Effect.forEach(rows, read)),
              corrupt("AuditLog.read")
            )
        ),

      history: ({ before, limit, server, subject, tenant }) =>
        database.forTenant(tenant).read(
          "AuditLog.history",
          (sql) =>
            sql`SELECT ${sql.literal(entryColumns)} FROM audit
              WHERE tenant = ${tenant} AND subject = ${subject} AND server = ${server} AND action <> 'token.read'
                AND action NOT LIKE 'server.%' AND (${before ?? null}::text IS NULL OR seq < (
                  SELECT seq FROM audit
                  WHERE tenant = ${tenant} AND subject = ${subject} AND server = ${server} AND action <> 'token.read'
                    AND action NOT LIKE 'server.%' AND hash = ${before ?? null}
                ))
              ORDER BY seq DESC LIMIT ${limit}`.pipe(
              Effect.flatMap((rows) => Effect.forEach(rows, read)),
              corrupt("AuditLog.history")
            )
        ),

      lastUses: ({ servers, subject, tenant }) =>
        database.forTenant(tenant).read(
          "AuditLog.lastUses",
          (sql) =>
            // One look at the end of each connection's part of the index.
            sql`SELECT server, latest.at FROM unnest(${servers}::text[]) AS asked (server), LATERAL (
                SELECT at FROM audit
                WHERE tenant = ${tenant} AND subject = ${subject} AND audit.server = asked.server
                  AND action = 'token.read'
                ORDER BY seq DESC LIMIT 1
              ) AS latest`.pipe(
              Effect.flatMap((rows) => Effect.forEach(rows, (row) => readUse(row))),
              Effect.map((uses) => new Map(uses.map(({ at, server }) => [server, at]))),
              corrupt("AuditLog.lastUses")
            )
        ),

      head: (tenant) =>
        database.forTenant(tenant).read(
          "AuditLog.head",
          (sql) =>
            sql`SELECT seq::float8, hash, anchor_seq::float8, anchor_hash FROM audit_heads WHERE tenant = ${tenant}`
              .pipe(
                Effect.flatMap(([row]) => row === undefined ? Effect.succeed(AuditChain.empty) : readHead(row)),
                corrupt("AuditLog.head")
              )
        ),

      prune: ({ limit, olderThan }) =>
        Effect.gen(function*() {
          const tenants = yield* database.acrossTenants.read("AuditLog.prune", (sql) =>
            sql<{ tenant: TenantId }>`SELECT DISTINCT tenant FROM audit
              WHERE at < ${before(sql, olderThan)}`)
          const pruned = new Array<PrunedChain>()
          for (const { tenant } of tenants) {
            const removed = yield* database.forTenant(tenant).transaction("AuditLog.prune", (sql) =>
              Effect.gen(function*() {
                // The oldest events that are old enough and follow the anchor without a gap; the last is the new anchor.
                const [row] = yield* sql`WITH head AS (
                    SELECT anchor_seq FROM audit_heads WHERE tenant = ${tenant} FOR UPDATE
                  ), old AS (
                    SELECT a.seq, a.hash,
                      bool_and(a.at < ${before(sql, olderThan)}
                        AND a.seq = head.anchor_seq + a.place) OVER (ORDER BY a.seq) AS fits
                    FROM head, LATERAL (
                      SELECT seq, hash, at, row_number() OVER (ORDER BY seq) AS place FROM audit
                      WHERE tenant = ${tenant} AND seq > head.anchor_seq ORDER BY seq LIMIT ${limit}
                    ) a
                  )
                  SELECT seq::float8, hash FROM old WHERE fits ORDER BY seq DESC LIMIT 1`
                if (row === undefined) {
                  return 0
                }
                const { hash, seq } = yield* decodeAnchor(row)
                const [end] = yield* sql`UPDATE audit_heads SET anchor_seq = ${seq}, anchor_hash = ${hash}
                  WHERE tenant = ${tenant}
                  RETURNING seq::float8, hash, floor(extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now`
                const { length } = yield* sql`DELETE FROM audit WHERE tenant = ${tenant} AND seq <= ${seq} RETURNING 1`
                yield* linkTo(sql, tenant, end, [AuditChain.prunedEvent(tenant, length)])
                return length
              }).pipe(corrupt("AuditLog.prune")))
            if (removed > 0) {
              pruned.push({ tenant, removed })
            }
          }
          return pruned
        })
    })
  })
)

const entryColumns = "tenant, seq::float8, at, subject, server, action, outcome, principal, origin, generation, " +
  "fingerprint, count, target, answer, previous, hash"

const hasher: AuditChain.Hasher = (text) => Digest.make(createHash("sha256").update(text).digest("base64url"))

const Anchor = Schema.Struct({ seq: Schema.Natural, hash: Digest })
const decodeAnchor = Schema.decodeUnknownEffect(Anchor)
const decodeEnd = Schema.decodeUnknownEffect(Schema.Struct({ ...Anchor.fields, now: Schema.Finite }))
const decodeHead = Schema.decodeUnknownEffect(
  Schema.Struct({ ...Anchor.fields, anchorSeq: Schema.Natural, anchorHash: Digest })
)
const {
  answer: _,
  count: __,
  fingerprint: ___,
  from: origin,
  generation: ____,
  server: _____,
  target: ______,
  ...columns
} = AuditEntry.fields
const readUse = Schema.decodeUnknownEffect(Schema.Struct({ server: ServerSlug, at: Schema.DateTimeUtcFromDate }))
const decodeRow = Schema.decodeUnknownEffect(Schema.Struct({
  ...columns,
  at: Schema.DateTimeUtcFromDate,
  origin,
  generation: Schema.NullOr(Schema.Natural),
  fingerprint: Schema.NullOr(Schema.String),
  count: Schema.NullOr(Schema.Natural),
  /** Empty when the event concerns none. */
  server: Schema.Union([ServerSlug, Schema.Literal("")]),
  target: Schema.NullOr(Schema.String),
  answer: Schema.NullOr(AuditEntry.fields.answer.schema)
}))

/** A row that does not have its shape was not written by us. */
const corrupt =
  (operation: string) =>
  <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, Exclude<E, Schema.SchemaError> | StoreError> =>
    Effect.mapError(
      effect,
      (error) => Schema.isSchemaError(error) ? storeError(operation, error) : error as Exclude<E, Schema.SchemaError>
    )

/** Links events to a chain whose end the transaction holds; `end` is that row, with the time. */
const linkTo = Effect.fnUntraced(function*(
  sql: Sql,
  tenant: TenantId,
  end: unknown,
  events: ReadonlyArray<AuditEvent>
) {
  const head = yield* decodeEnd(end)
  const entries = AuditChain.link(hasher, head, events, head.now)
  const [first, ...others] = entries.map(rowOf)
  if (first === undefined) return
  yield* sql`INSERT INTO audit ${sql.insert([first, ...others])}`
  const { hash, seq } = entries.at(-1)!
  yield* sql`UPDATE audit_heads SET seq = ${seq}, hash = ${hash} WHERE tenant = ${tenant}`
})

const readHead = (row: unknown): Effect.Effect<AuditHead, Schema.SchemaError> =>
  Effect.map(decodeHead(row), ({ anchorHash, anchorSeq, hash, seq }) => ({
    seq,
    hash,
    anchor: { seq: anchorSeq, hash: anchorHash }
  }))

const read = (row: unknown): Effect.Effect<AuditEntry, Schema.SchemaError> =>
  Effect.map(decodeRow(row), ({ answer, count, fingerprint, generation, origin, server, target, ...rest }) => ({
    ...rest,
    from: origin,
    ...(generation === null ? undefined : { generation }),
    ...(fingerprint === null ? undefined : { fingerprint }),
    ...(count === null ? undefined : { count }),
    ...(server === "" ? undefined : { server }),
    ...(target === null ? undefined : { target }),
    ...(answer === null ? undefined : { answer })
  }))

const rowOf = (entry: AuditEntry): Record<string, unknown> => ({
  tenant: entry.tenant,
  seq: entry.seq,
  at: DateTime.toDateUtc(entry.at),
  subject: entry.subject,
  server: entry.server ?? "",
  action: entry.action,
  outcome: entry.outcome,
  principal: entry.principal,
  origin: entry.from,
  generation: entry.generation ?? null,
  fingerprint: entry.fingerprint ?? null,
  count: entry.count ?? null,
  target: entry.target ?? null,
  answer: entry.answer ?? null,
  previous: entry.previous,
  hash: entry.hash
})
