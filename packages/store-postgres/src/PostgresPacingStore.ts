import {
  decideAdmission,
  decideAnswer,
  type EndpointState,
  isExpected,
  isHealthy,
  longestCooldown,
  longestPause,
  longestSlot,
  retention
} from "@valetkey/domain/Pacing"
import { type PacedEndpoint, PacingStore } from "@valetkey/domain/PacingStore"
import { longestLease } from "@valetkey/domain/StoredTime"
import { Duration, Effect, Layer, Schema } from "effect"
import { Database, type Sql } from "./Database.ts"
import { after, before } from "./internal/databaseTime.ts"
import { storeError } from "./internal/failure.ts"

/** Layer of `PacingStore` on the tables `token_endpoints` and `redemption_slots`. */
export const layer: Layer.Layer<PacingStore, never, Database> = Layer.effect(
  PacingStore,
  Effect.map(Database, (database) => {
    /** The providers and caps whose slots this process has seen to. */
    const prepared = new Set<string>()

    return PacingStore.of({
      admit: (endpoint, { lease }) =>
        Effect.gen(function*() {
          const own = database.forTenant(endpoint.tenant)
          const found = yield* own.read("PacingStore.admit", (sql) => stateOf(sql, endpoint, "PacingStore.admit"))
          if (found === undefined) return { admission: { _tag: "Go" as const }, healthy: true }
          const { now, state } = found
          const { admission, next } = decideAdmission(state, { lease, now })
          if (next === undefined) return { admission, healthy: false }
          // Of those who would probe one changes the row.
          const probes = yield* own.write("PacingStore.admit", (sql) =>
            sql`UPDATE token_endpoints SET probe_until = ${after(sql, lease)}
              WHERE ${ofEndpoint(sql, endpoint)} AND failures = ${state.failures} AND trips = ${state.trips}
                AND ${isOver(sql, "open_until", longestCooldown)} AND ${isOver(sql, "probe_until", longestLease)}
                AND ${isOver(sql, "not_before", longestPause)}
              RETURNING trips`)
          return {
            healthy: false,
            admission: probes.length > 0
              ? admission
              : { _tag: "Wait" as const, reason: "open" as const, remaining: Duration.millis(100) }
          }
        }),

      report: (endpoint, answer) =>
        database.forTenant(endpoint.tenant).transaction("PacingStore.report", (sql) =>
          Effect.gen(function*() {
            if (!isExpected(answer)) {
              yield* sql`INSERT INTO token_endpoints (tenant, token_endpoint)
                VALUES (${endpoint.tenant}, ${endpoint.tokenEndpoint}) ON CONFLICT DO NOTHING`
            }
            const found = yield* stateOf(sql, endpoint, "PacingStore.report", true)
            // Whoever deleted it in between has found the endpoint well.
            if (found === undefined) return { healthy: true, changed: false }
            const { now, state } = found
            const next = decideAnswer(state, { answer, now })
            yield* isHealthy(next, now)
              ? sql`DELETE FROM token_endpoints WHERE ${ofEndpoint(sql, endpoint)}`
              : sql`UPDATE token_endpoints SET failures = ${next.failures}, trips = ${next.trips},
                  open_until = ${at(sql, next.openUntil)}, probe_until = ${at(sql, next.probeUntil)},
                  not_before = ${at(sql, next.notBefore)}
                WHERE ${ofEndpoint(sql, endpoint)}`
            if (!isExpected(answer)) yield* forgetPast(sql, endpoint)
            return { healthy: isHealthy(next, now), changed: true }
          })),

      acquire: ({ cap, count, holder, lease, provider }) =>
        Effect.gen(function*() {
          if (!prepared.has(`${cap} ${provider}`)) {
            yield* database.write("PacingStore.acquire", (sql) =>
              sql`INSERT INTO redemption_slots (provider, slot)
                SELECT ${provider}, slot FROM generate_series(1, ${cap}::integer) AS slot ON CONFLICT DO NOTHING`)
            prepared.add(`${cap} ${provider}`)
          }
          const taken = yield* database.write("PacingStore.acquire", (sql) =>
            sql<{ slot: number }>`WITH free AS MATERIALIZED (
                SELECT slot FROM redemption_slots
                WHERE provider = ${provider} AND slot <= ${cap}
                  AND ${isOver(sql, "lease_until", longestSlot)}
                ORDER BY slot LIMIT ${count} FOR UPDATE SKIP LOCKED
              )
              UPDATE redemption_slots SET holder = ${holder}, lease_until = ${after(sql, lease)}
              FROM free WHERE redemption_slots.provider = ${provider} AND redemption_slots.slot = free.slot
              RETURNING redemption_slots.slot`)
          return taken.map(({ slot }) =>
            slot
          )
        }),

      release: ({ holder, provider, slot }) =>
        database.write(
          "PacingStore.release",
          (sql) =>
            Effect.asVoid(sql`UPDATE redemption_slots SET holder = NULL, lease_until = NULL
            WHERE provider = ${provider} AND slot = ${slot} AND holder = ${holder}`)
        )
    })
  })
)

/** Skips what others are at: two that report at once must not wait for each other's endpoints. */
const forgetPast = (sql: Sql, endpoint: PacedEndpoint) =>
  sql`DELETE FROM token_endpoints WHERE tenant = ${endpoint.tenant} AND token_endpoint IN (
      SELECT token_endpoint FROM token_endpoints
      WHERE tenant = ${endpoint.tenant} AND token_endpoint <> ${endpoint.tokenEndpoint}
        AND coalesce(greatest(open_until, probe_until, not_before), '-infinity')
          < ${before(sql, retention)}
      FOR UPDATE SKIP LOCKED
    )`

const ofEndpoint = (sql: Sql, { tenant, tokenEndpoint }: PacedEndpoint) =>
  sql`tenant = ${tenant} AND token_endpoint = ${tokenEndpoint}`

/** The opposite of `StoredTime.isToCome`. */
const isOver = (sql: Sql, column: string, longest: Duration.Duration) => {
  const time = sql.literal(column)
  return sql`(${time} IS NULL OR ${time} <= clock_timestamp() OR ${time} > ${after(sql, longest)})`
}

/** A time of the store's clock in milliseconds; zero is none. */
const at = (sql: Sql, millis: number) => sql`to_timestamp(nullif(${millis}::float8, 0) / 1000)`

const decode = Schema.decodeUnknownEffect(Schema.Struct({
  failures: Schema.Natural,
  trips: Schema.Natural,
  openUntil: Schema.Number,
  probeUntil: Schema.Number,
  notBefore: Schema.Number,
  now: Schema.Number
}))

const stateOf = Effect.fnUntraced(function*(sql: Sql, endpoint: PacedEndpoint, operation: string, forUpdate = false) {
  const [row] = yield* sql`SELECT failures, trips, ${millis(sql, "open_until")}, ${millis(sql, "probe_until")},
      ${millis(sql, "not_before")}, (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now
    FROM token_endpoints WHERE ${ofEndpoint(sql, endpoint)} ${sql.literal(forUpdate ? "FOR UPDATE" : "")}`
  if (row === undefined) return undefined
  const { now, ...state } = yield* Effect.mapError(decode(row), (error) => storeError(operation, error))
  return { now, state: state satisfies EndpointState }
})

const millis = (sql: Sql, column: string) =>
  sql.literal(`coalesce(extract(epoch FROM ${column}) * 1000, 0)::float8 AS ${column}`)
