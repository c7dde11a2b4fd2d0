import { Digest } from "@valetkey/domain/Entropy"
import { type Flow, FlowId } from "@valetkey/domain/Flow"
import { type ConnectionWrite, FlowStore } from "@valetkey/domain/FlowStore"
import { Sealed } from "@valetkey/domain/Sealed"
import type { StoreError } from "@valetkey/domain/StoreError"
import { type Duration, Effect, Layer, Option, Schema } from "effect"
import { Database, type Operations, type Sql } from "./Database.ts"
import { announcement } from "./internal/announcement.ts"
import { orNull } from "./internal/columns.ts"
import { connectionStatement, ofKey } from "./internal/connectionRows.ts"
import { after, before } from "./internal/databaseTime.ts"
import { storeError } from "./internal/failure.ts"
import {
  claimedColumns,
  decodeClaimed,
  decodeFlow,
  exchangingCondition,
  flowColumns,
  frozenColumns,
  openCondition,
  overdueCondition,
  overdueState,
  settledColumns
} from "./internal/flowRows.ts"
import { makeReserve } from "./internal/reservations.ts"

/** Layer of `FlowStore` on the tables `flows` and `connections`. */
export const layer: Layer.Layer<FlowStore, never, Database> = Layer.effect(
  FlowStore,
  Effect.gen(function*() {
    const database = yield* Database
    const reserve = yield* makeReserve(database)
    return FlowStore.of({
      reserve,

      freeze: (id, frozen, ticket) =>
        database.acrossTenants.write(
          "FlowStore.freeze",
          (sql) =>
            changed(sql`UPDATE flows SET ${frozenColumns(sql, frozen, ticket)}
            WHERE id = ${id} AND state = 'pending' AND expires_at > clock_timestamp()
            RETURNING id`)
        ),

      handOff: (id, { handOffs, transport }, frozen, ticket) =>
        database.acrossTenants.write(
          "FlowStore.handOff",
          (sql) =>
            changed(sql`UPDATE flows SET ${frozenColumns(sql, frozen, ticket)},
              transport = ${transport}, hand_offs = hand_offs + 1, fence = fence + 1
            WHERE id = ${id} AND state = 'pending' AND expires_at > clock_timestamp()
              AND snapshot IS NOT NULL AND hand_offs = ${handOffs}
            RETURNING id`)
        ),

      findByTicket: ({ ticketHash, within }) =>
        database.acrossTenants.read("FlowStore.findByTicket", (sql) =>
          Effect.flatMap(
            sql`SELECT ${flowColumns(sql)}, state_hash, binding_hash FROM flows
              WHERE ticket_hash = ${ticketHash} AND created_at > ${before(sql, within)}`,
            (rows) => firstOf("FlowStore.findByTicket", rows, decodeTicketed)
          )),

      bind: ({ bindingHash, ticketHash, within }) =>
        database.acrossTenants.write("FlowStore.bind", (sql) =>
          Effect.flatMap(
            sql`UPDATE flows SET binding_hash = ${bindingHash}
              WHERE ticket_hash = ${ticketHash} AND state = 'pending' AND expires_at > clock_timestamp()
                AND coalesce(binding_hash, ${bindingHash}::text) = ${bindingHash}
                AND created_at > ${before(sql, within)} AND authorization_url IS NOT NULL
              RETURNING ${flowColumns(sql)}, authorization_url`,
            (rows) => firstOf("FlowStore.bind", rows, decodeBound)
          )),

      claim: (input) =>
        database.acrossTenants.write("FlowStore.claim", (sql) =>
          Effect.flatMap(
            sql`UPDATE flows SET state = 'exchanging', fence = fence + 1, lease_until = ${after(sql, input.lease)},
                authorization_url = NULL
              WHERE state_hash = ${input.stateHash} AND state = 'pending' AND expires_at > clock_timestamp()
                AND binding_hash IS NOT DISTINCT FROM ${input.bindingHash ?? null}::text AND context = ${input.context}
                AND (ticket_hash IS NULL OR binding_hash IS NOT NULL)
              RETURNING ${claimedColumns(sql)}`,
            (rows) => firstOf("FlowStore.claim", rows, decodeClaimed)
          )),

      hold: (id, fence, { code, completionHash, ttl }) =>
        database.acrossTenants.write(
          "FlowStore.hold",
          (sql) =>
            changed(sql`UPDATE flows SET state = 'awaiting_finalize', authorization_code = ${code}, lease_until = NULL,
              completion_hash = ${completionHash}, expires_at = ${after(sql, ttl)}
            WHERE id = ${id} AND ${sql.literal(exchangingCondition)} AND fence = ${fence} RETURNING id`)
        ),

      held: (input) =>
        database.acrossTenants.read("FlowStore.held", (sql) =>
          Effect.flatMap(
            sql`SELECT ${claimedColumns(sql)}, flows.authorization_code FROM flows
              WHERE state_hash = ${input.stateHash} AND state = 'awaiting_finalize'
                AND binding_hash IS NOT DISTINCT FROM ${input.bindingHash ?? null}::text AND context = ${input.context}
                AND expires_at > clock_timestamp() AND authorization_code IS NOT NULL`,
            (rows) => firstOf("FlowStore.held", rows, decodeResumed)
          )),

      resume: (input) =>
        database.forTenant(input.tenant).write("FlowStore.resume", (sql) =>
          Effect.flatMap(
            sql`WITH held AS (
                SELECT tenant, id, authorization_code FROM flows
                WHERE tenant = ${input.tenant} AND id = ${input.id} AND subject = ${input.subject}
                  AND state = 'awaiting_finalize' AND completion_hash = ${input.completionHash}
                  AND expires_at > clock_timestamp()
                FOR UPDATE
              )
              UPDATE flows SET state = 'exchanging', fence = fence + 1, lease_until = ${after(sql, input.lease)},
                authorization_code = NULL
              FROM held WHERE flows.tenant = held.tenant AND flows.id = held.id
              RETURNING ${claimedColumns(sql)}, held.authorization_code`,
            (rows) => firstOf("FlowStore.resume", rows, decodeResumed)
          )),

      complete: (id, fence, write) =>
        database.acrossTenants.write("FlowStore.complete", (sql) => completeFlow(sql, id, fence, write)),

      fail: (id, fence, failure) =>
        database.acrossTenants.write("FlowStore.fail", (sql) => {
          const [state, code] = failure === "outcome_unknown" ? [failure, null] : ["failed", failure]
          // The second half is for who was not told of its commit.
          return changed(sql`WITH failed AS (
              UPDATE flows SET state = ${state}, failure = ${code}, ${sql.literal(settledColumns)}
              WHERE id = ${id} AND ${sql.literal(exchangingCondition)} AND fence = ${fence}
              RETURNING id, ${announcement(sql, "id")}
            )
            SELECT id FROM failed UNION ALL SELECT id FROM flows WHERE id = ${id} AND fence = ${fence}
              AND state = ${state} AND failure IS NOT DISTINCT FROM ${code}::text`)
        }),

      abandon: (id) =>
        database.acrossTenants.write(
          "FlowStore.abandon",
          (sql) =>
            Effect.asVoid(
              sql`UPDATE flows SET state = 'failed', failure = 'start_failed', ${sql.literal(settledColumns)}
            WHERE id = ${id} AND ${sql.literal(openCondition)}`
            )
        ),

      cancel: (input) =>
        database.forTenant(input.tenant).write("FlowStore.cancel", (sql) =>
          Effect.map(
            sql<{ state: string }>`UPDATE flows SET ${sql.literal(settledColumns)},
                state = CASE WHEN ${sql.literal(overdueCondition)} THEN ${
              sql.literal(overdueState)
            } ELSE 'cancelled' END
              WHERE tenant = ${input.tenant} AND id = ${input.id} AND subject = ${input.subject}
                AND ${sql.literal(openCondition)}
              RETURNING state`,
            ([row]) => row?.state === "cancelled"
          )),

      get: (input) =>
        database.forTenant(input.tenant).read("FlowStore.get", (sql) =>
          Effect.flatMap(
            sql`SELECT ${flowColumns(sql)} FROM flows
              WHERE tenant = ${input.tenant} AND id = ${input.id} AND subject = ${input.subject}`,
            (rows) => firstOf("FlowStore.get", rows, decodeFlow)
          )),

      getAll: (owners) =>
        Effect.flatMap(database.partition(owners, ({ tenant }) => tenant), (parts) =>
          parts.length === 1
            ? readAll(parts[0]!.operations, owners)
            : Effect.map(
              Effect.forEach(parts, ({ items, operations }) => readAll(operations, items), {
                concurrency: "unbounded"
              }),
              (flows) => flows.flat()
            )),

      ended: (within) =>
        database.acrossTenants.read("FlowStore.ended", (sql) =>
          Effect.map(
            sql<{ id: string }>`SELECT id FROM flows WHERE settled_at > (SELECT ${before(sql, within)})
              UNION ALL
              SELECT id FROM flows WHERE state IN ('pending', 'awaiting_finalize')
                AND expires_at <= (SELECT clock_timestamp()) AND expires_at > (SELECT ${before(sql, within)})`,
            (rows) => rows.map(({ id }) => FlowId.make(id))
          )),

      latest: (key) =>
        database.forTenant(key.tenant).read("FlowStore.latest", (sql) =>
          Effect.flatMap(
            sql`SELECT ${flowColumns(sql)} FROM flows WHERE ${ofKey(sql, key)} AND latest`,
            (rows) => firstOf("FlowStore.latest", rows, decodeFlow)
          )),

      findByState: (stateHash) =>
        database.acrossTenants.read("FlowStore.findByState", (sql) =>
          Effect.flatMap(
            sql`SELECT ${flowColumns(sql)} FROM flows WHERE state_hash = ${stateHash}`,
            (rows) => firstOf("FlowStore.findByState", rows, decodeFlow)
          )),

      sweep: (input) =>
        database.acrossTenants.write(
          "FlowStore.sweep",
          (sql) => Effect.tap(settleOverdue(sql, input.limit), removeOld(sql, input))
        )
    })
  })
)

/**
 * One statement: the flow is held while its connection is written, and settles only if it was. NOTIFY goes with the
 * commit, so that a waiter of another replica re-reads once and finds it.
 */
const completeFlow = Effect.fnUntraced(function*(sql: Sql, id: FlowId, fence: number, write: ConnectionWrite) {
  const [row] = yield* sql<{ held: boolean; id: string | null }>`WITH held AS MATERIALIZED (
      SELECT tenant, subject, server, id FROM flows
      WHERE id = ${id} AND ${sql.literal(exchangingCondition)} AND fence = ${fence} FOR UPDATE
    ), written AS (
      ${connectionStatement(sql, sql`held AS owner`, write)}
    ), settled AS (
      UPDATE flows SET state = 'completed', ${sql.literal(settledColumns)}
      FROM held, written WHERE flows.tenant = held.tenant AND flows.id = held.id
      RETURNING flows.*, ${announcement(sql, "flows.id")}
    )
    SELECT EXISTS (SELECT FROM held) AS held, ${flowColumns(sql)} FROM (SELECT) AS one LEFT JOIN settled ON true`
  if (typeof row?.id === "string") {
    const flow = yield* Effect.mapError(decodeFlow(row), (error) => storeError("FlowStore.complete", error))
    return { _tag: "Completed" as const, flow }
  }
  if (row?.held !== true) return { _tag: "ClaimLost" as const }
  const [now] = yield* sql<{ generation: number }>`SELECT generation FROM connections
    JOIN flows USING (tenant, subject, server) WHERE flows.id = ${id}`
  return { _tag: "GenerationMoved" as const, current: now?.generation ?? 0 }
})

type Owners = Parameters<FlowStore["Service"]["getAll"]>[0]

const readAll = (operations: Operations, owners: Owners): Effect.Effect<ReadonlyArray<Flow>, StoreError> =>
  operations.read("FlowStore.getAll", (sql) =>
    Effect.flatMap(
      // Planning for arrays costs as much as reading: one flow, as nearly always, needs none.
      owners.length === 1
        ? sql`SELECT ${flowColumns(sql)} FROM flows WHERE tenant = ${owners[0]!.tenant} AND id = ${owners[0]!.id}
          AND subject = ${owners[0]!.subject}`
        : sql`SELECT ${flowColumns(sql)} FROM unnest(${owners.map(({ id }) => id)}::text[],
          ${owners.map(({ tenant }) => tenant)}::text[], ${owners.map(({ subject }) => subject)}::text[]
        ) AS wanted (id, tenant, subject) JOIN flows USING (id, tenant, subject)`,
      (rows) =>
        Effect.mapError(
          Effect.forEach(rows, decodeFlow),
          (error) => storeError("FlowStore.getAll", error)
        )
    ))

const settleOverdue = (sql: Sql, limit: number) =>
  Effect.map(
    sql<{ id: string }>`WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS now), expiring AS MATERIALIZED (
        SELECT tenant, id FROM flows WHERE state IN ('pending', 'awaiting_finalize')
          AND expires_at <= (SELECT now FROM moment) ORDER BY expires_at LIMIT ${limit} FOR UPDATE SKIP LOCKED
      ), leased AS MATERIALIZED (
        SELECT tenant, id FROM flows WHERE state = 'exchanging'
          AND lease_until <= (SELECT now FROM moment) ORDER BY lease_until LIMIT ${limit} FOR UPDATE SKIP LOCKED
      ), due AS MATERIALIZED (
        SELECT tenant, id FROM expiring UNION ALL SELECT tenant, id FROM leased LIMIT ${limit}
      )
      UPDATE flows SET state = ${sql.literal(overdueState)}, ${sql.literal(settledColumns)}
      FROM due WHERE flows.tenant = due.tenant AND flows.id = due.id
      RETURNING flows.id`,
    (rows) => rows.map(({ id }) => FlowId.make(id))
  )

const removeOld = (sql: Sql, input: { readonly retention: Duration.Duration; readonly limit: number }) =>
  sql`WITH old AS MATERIALIZED (
      SELECT tenant, id FROM flows WHERE NOT latest AND settled_at <=
        (SELECT ${before(sql, input.retention)})
      ORDER BY settled_at LIMIT ${input.limit} FOR UPDATE SKIP LOCKED
    )
    DELETE FROM flows USING old WHERE flows.tenant = old.tenant AND flows.id = old.id`

const changed = <E>(rows: Effect.Effect<ReadonlyArray<unknown>, E>): Effect.Effect<boolean, E> =>
  Effect.map(rows, (rows) => rows.length > 0)

const firstOf = <A>(
  operation: string,
  rows: ReadonlyArray<unknown>,
  decode: (row: unknown) => Effect.Effect<A, Schema.SchemaError>
): Effect.Effect<Option.Option<A>, StoreError> =>
  rows.length === 0
    ? Effect.succeed(Option.none())
    : Effect.mapBoth(decode(rows[0]), { onSuccess: Option.some, onFailure: (error) => storeError(operation, error) })

const decodeCode = Schema.decodeUnknownEffect(Schema.Struct({ authorizationCode: Sealed }))

const decodeResumed = (row: unknown) =>
  Effect.zipWith(decodeClaimed(row), decodeCode(row), (flow, { authorizationCode }) => ({
    flow,
    code: authorizationCode
  }))

const decodeHashes = Schema.decodeUnknownEffect(
  Schema.Struct({ stateHash: Digest, bindingHash: orNull(Digest) })
)

const decodeTicketed = (row: unknown) =>
  Effect.zipWith(decodeFlow(row), decodeHashes(row), (flow, { bindingHash, stateHash }) => ({
    flow,
    stateHash,
    bindingHash: bindingHash ?? undefined
  }))

const decodeUrl = Schema.decodeUnknownEffect(Schema.Struct({ authorizationUrl: Sealed }))

const decodeBound = (row: unknown) =>
  Effect.zipWith(decodeFlow(row), decodeUrl(row), (flow, { authorizationUrl }) => ({ flow, authorizationUrl }))
