import { Digest } from "@valetkey/domain/Entropy"
import { type Flow, FlowId } from "@valetkey/domain/Flow"
import { FlowConflict, FlowStore, type Reservation } from "@valetkey/domain/FlowStore"
import { Sealed } from "@valetkey/domain/Sealed"
import { StoreError } from "@valetkey/domain/StoreError"
import { Duration, Effect, Layer, Option, Schema } from "effect"
import { Database, type Sql } from "./Database.ts"
import { type KeyColumns, ofKey, writeConnection } from "./internal/connectionRows.ts"
import { storeError } from "./internal/failure.ts"
import {
  claimedColumns,
  decodeClaimed,
  decodeFlow,
  flowColumns,
  openCondition,
  overdueCondition,
  overdueState,
  settledColumns
} from "./internal/flowRows.ts"

/** Layer of `FlowStore` on the tables `flows` and `connections`. */
export const layer: Layer.Layer<FlowStore, never, Database> = Layer.effect(
  FlowStore,
  Effect.map(Database, (database) =>
    FlowStore.of({
      reserve: (input) =>
        Effect.suspend(() => attemptReservation(database, input)).pipe(
          Effect.repeat({ times: maxRounds, until: (reservation) => reservation !== undefined }),
          Effect.flatMap((reservation) =>
            reservation === undefined
              ? Effect.fail(new StoreError({ code: "store_unavailable", operation: "FlowStore.reserve" }))
              : Effect.succeed(reservation)
          )
        ),

      freeze: (id, { bindingHash, clientSecret, codeVerifier, context, grant, snapshot, stateHash }, ticket) =>
        database.acrossTenants.write("FlowStore.freeze", (sql) =>
          changed(sql`UPDATE flows SET snapshot = ${sql.json(snapshot)}, "grant" = ${sql.json(grant)},
              context = ${context}, state_hash = ${stateHash}, binding_hash = ${bindingHash ?? null},
              code_verifier = ${codeVerifier}, client_secret = ${clientSecret ?? null},
              ticket_hash = ${ticket?.ticketHash ?? null}, authorization_url = ${ticket?.authorizationUrl ?? null}
            WHERE id = ${id} AND state = 'pending' AND expires_at > clock_timestamp()
            RETURNING id`)),

      findByTicket: ({ ticketHash, within }) =>
        database.acrossTenants.read("FlowStore.findByTicket", (sql) =>
          Effect.flatMap(
            sql`SELECT ${flowColumns(sql)}, state_hash, binding_hash FROM flows
              WHERE ticket_hash = ${ticketHash} AND created_at > ${before(sql, within)}`,
            (rows) =>
              firstOf("FlowStore.findByTicket", rows, decodeTicketed)
          )),

      bind: ({ bindingHash, ticketHash, within }) =>
        database.acrossTenants.write("FlowStore.bind", (sql) =>
          Effect.flatMap(
            sql`UPDATE flows SET binding_hash = ${bindingHash}
              WHERE ticket_hash = ${ticketHash} AND state = 'pending' AND expires_at > clock_timestamp()
                AND coalesce(binding_hash, ${bindingHash}::text) = ${bindingHash}
                AND created_at > ${before(sql, within)} AND authorization_url IS NOT NULL
              RETURNING ${flowColumns(sql)}, authorization_url`,
            (rows) =>
              firstOf("FlowStore.bind", rows, decodeBound)
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
        database.acrossTenants.write("FlowStore.hold", (sql) =>
          changed(sql`UPDATE flows SET state = 'awaiting_finalize', authorization_code = ${code}, lease_until = NULL,
              completion_hash = ${completionHash}, expires_at = ${after(sql, ttl)}
            WHERE id = ${id} AND state = 'exchanging' AND fence = ${fence} RETURNING id`)),

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
            (rows) =>
              firstOf("FlowStore.resume", rows, decodeResumed)
          )),

      complete: (id, fence, write) =>
        database.acrossTenants.transaction("FlowStore.complete", (sql) =>
          Effect.gen(function*() {
            const [flow] = yield* sql<KeyColumns>`SELECT tenant, subject, server FROM flows
              WHERE id = ${id} AND state = 'exchanging' AND fence = ${fence} FOR UPDATE`
            if (flow === undefined) {
              return { _tag: "ClaimLost" as const }
            }
            if (!(yield* writeConnection(sql, flow, write))) {
              const [row] = yield* sql<{ generation: number }>`
                SELECT generation FROM connections WHERE ${ofKey(sql, flow)}`
              return { _tag: "GenerationMoved" as const, current: row?.generation ?? 0 }
            }
            yield* sql`UPDATE flows SET state = 'completed', ${sql.literal(settledColumns)}
              WHERE tenant = ${flow.tenant} AND id = ${id}`
            return { _tag: "Completed" as const }
          })),

      fail: (id, fence, failure) =>
        database.acrossTenants.write("FlowStore.fail", (sql) => {
          const [state, code] = failure === "outcome_unknown" ? [failure, null] : ["failed", failure]
          return changed(sql`UPDATE flows SET state = ${state}, failure = ${code}, ${sql.literal(settledColumns)}
            WHERE id = ${id} AND state = 'exchanging' AND fence = ${fence} RETURNING id`)
        }),

      abandon: (id) =>
        database.acrossTenants.write("FlowStore.abandon", (sql) =>
          Effect.asVoid(sql`UPDATE flows SET state = 'failed', failure = 'start_failed', ${sql.literal(settledColumns)}
            WHERE id = ${id} AND ${sql.literal(openCondition)}`)),

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
            ([row]) =>
              row?.state === "cancelled"
          )),

      get: (input) =>
        database.forTenant(input.tenant).read("FlowStore.get", (sql) =>
          Effect.flatMap(
            sql`SELECT ${flowColumns(sql)} FROM flows
              WHERE tenant = ${input.tenant} AND id = ${input.id} AND subject = ${input.subject}`,
            (rows) =>
              firstOf("FlowStore.get", rows, decodeFlow)
          )),

      latest: (key) =>
        database.forTenant(key.tenant).read("FlowStore.latest", (sql) =>
          Effect.flatMap(
            sql`SELECT ${flowColumns(sql)} FROM flows WHERE ${ofKey(sql, key)} AND latest`,
            (rows) =>
              firstOf("FlowStore.latest", rows, decodeFlow)
          )),

      findByState: (stateHash) =>
        database.acrossTenants.read("FlowStore.findByState", (sql) =>
          Effect.flatMap(
            sql`SELECT ${flowColumns(sql)} FROM flows WHERE state_hash = ${stateHash}`,
            (rows) =>
              firstOf("FlowStore.findByState", rows, decodeFlow)
          )),

      sweep: (input) =>
        database.acrossTenants.write("FlowStore.sweep", (sql) =>
          Effect.tap(settleOverdue(sql, input.limit), removeOld(sql, input)))
    }))
)

type ReserveInput = Parameters<FlowStore["Service"]["reserve"]>[0]

// Each round that takes nothing means that another starter of the same connection got further.
const maxRounds = 100

/**
 * One statement: whatever of the connection's newest flow must give way does so, and the new one is inserted if the slot
 * is free. Two partial unique indexes decide races.
 */
const attemptReservation = (
  database: Database["Service"],
  input: ReserveInput
): Effect.Effect<Reservation | undefined, FlowConflict | StoreError> =>
  database.forTenant(input.key.tenant).write("FlowStore.reserve", (sql) =>
    Effect.gen(function*() {
      const { key } = input
      const supersede = input.onConflict === "supersede"
      const [inserted] = yield* sql`WITH newest AS MATERIALIZED (
          SELECT tenant, id, CASE WHEN settled_at IS NOT NULL THEN NULL
            WHEN ${sql.literal(overdueCondition)} THEN ${sql.literal(overdueState)} ELSE 'superseded' END AS becomes
          FROM flows
          WHERE ${ofKey(sql, key)} AND latest
            AND (settled_at IS NOT NULL OR ${supersede} OR ${sql.literal(overdueCondition)})
          FOR UPDATE
        ), passed AS (
          UPDATE flows SET latest = false, state = coalesce(newest.becomes, state),
            settled_at = coalesce(settled_at, clock_timestamp()), lease_until = NULL, code_verifier = NULL,
            client_secret = NULL, authorization_code = NULL, authorization_url = NULL
          FROM newest WHERE flows.tenant = newest.tenant AND flows.id = newest.id
          RETURNING flows.id, newest.becomes
        ), moment AS MATERIALIZED (
          SELECT clock_timestamp() AS now, (SELECT count(*) FROM passed) AS passed
        ), inserted AS (
          INSERT INTO flows (tenant, id, subject, server, transport, confirmation, created_at, expires_at)
          SELECT ${key.tenant}, ${input.id}, ${key.subject}, ${key.server}, ${input.transport}, ${input.confirmation},
            now, now + ${Duration.toMillis(input.ttl)}::float8 * interval '1 millisecond'
          FROM moment
          ON CONFLICT DO NOTHING
          RETURNING *
        )
        SELECT ${flowColumns(sql)}, (SELECT passed.id FROM passed WHERE becomes = 'superseded') AS superseded
        FROM inserted`
      if (inserted !== undefined) {
        const flow = yield* readFlow("FlowStore.reserve", inserted)
        const superseded = inserted["superseded"]
        return {
          _tag: "Reserved" as const,
          flow,
          superseded: typeof superseded === "string" ? FlowId.make(superseded) : undefined
        }
      }
      const [running] = yield* sql`SELECT ${flowColumns(sql)} FROM flows
        WHERE ${ofKey(sql, key)} AND ${sql.literal(openCondition)} AND NOT ${sql.literal(overdueCondition)}`
      if (running === undefined || supersede) return undefined
      const flow = yield* readFlow("FlowStore.reserve", running)
      if (input.onConflict === "reject") return yield* new FlowConflict({ running: flow.id })
      return { _tag: "Joined" as const, flow }
    }))

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
        (SELECT clock_timestamp() - ${Duration.toMillis(input.retention)}::float8 * interval '1 millisecond')
      ORDER BY settled_at LIMIT ${input.limit} FOR UPDATE SKIP LOCKED
    )
    DELETE FROM flows USING old WHERE flows.tenant = old.tenant AND flows.id = old.id`

const after = (sql: Sql, duration: Duration.Duration) =>
  sql`clock_timestamp() + ${Duration.toMillis(duration)}::float8 * interval '1 millisecond'`

const before = (sql: Sql, duration: Duration.Duration) =>
  sql`clock_timestamp() - ${Duration.toMillis(duration)}::float8 * interval '1 millisecond'`

const changed = <E>(rows: Effect.Effect<ReadonlyArray<unknown>, E>): Effect.Effect<boolean, E> =>
  Effect.map(rows, (rows) => rows.length > 0)

const readFlow = (operation: string, row: unknown): Effect.Effect<Flow, StoreError> =>
  Effect.mapError(decodeFlow(row), (error) => storeError(operation, error))

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
  Schema.Struct({ stateHash: Digest, bindingHash: Schema.NullOr(Digest) })
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
