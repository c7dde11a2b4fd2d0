import type { ConnectionKey, Epoch, Generation, SealedCredentials } from "@valetkey/domain/Connection"
import { connectionTopic } from "@valetkey/domain/Signals"
import { DateTime, Duration } from "effect"
import type * as Statement from "effect/sql/Statement"
import type { Sql } from "../Database.ts"
import { channel, payloadOf } from "../PostgresSignals.ts"
import { connectionColumns, dateOf, ofKey, plannedAt, refreshColumns } from "./connectionRows.ts"
import type { OfRow, Placed, Writing } from "./groupedRows.ts"

/** A generation in one life of a connection. */
interface OfGeneration extends OfRow {
  readonly generation: Generation
  readonly epoch: Epoch
}

export interface Claiming extends OfGeneration {
  /** How many attempts of unknown outcome are one too many. */
  readonly attempts: number
  readonly lease: Duration.Duration
}

export interface Marking extends OfGeneration {
  readonly fence: number
  readonly lease: Duration.Duration
}

export interface Committing extends OfGeneration {
  readonly credentials: SealedCredentials
  readonly resultId: string
}

// A statement for many leaves out what somebody else has locked: the rows of the others would wait with it, locked as well.
const free = "FOR UPDATE SKIP LOCKED"
const own = "FOR UPDATE"

type Lock = typeof free | typeof own | ""

/** Reads connections. */
export const readStatement = (sql: Sql, inputs: ReadonlyArray<OfRow>) =>
  ofKeys(sql, inputs, sql`${connectionColumns(sql)}`)

/** Reads how far the refreshes of connections got. */
export const lookStatement = (sql: Sql, inputs: ReadonlyArray<OfRow>) =>
  ofKeys(sql, inputs, sql`${refreshColumns(sql)}`)

const ofKeys = (sql: Sql, inputs: ReadonlyArray<OfRow>, columns: Statement.Fragment) => {
  const [only] = inputs
  if (inputs.length === 1 && only !== undefined) {
    return sql<Placed>`SELECT 1 AS place, ${columns} FROM connections WHERE ${ofKey(sql, only.key)}`.withoutTransform
  }
  return sql<Placed>`SELECT place, found.* FROM ${asked(sql, inputs)}
    CROSS JOIN LATERAL (
      SELECT ${columns} FROM connections
      WHERE tenant = asked.tenant AND subject = asked.subject AND server = asked.server
    ) AS found`.withoutTransform
}

/**
 * Takes the leases that the rules of `Refresh.decideClaim` give; the others have no row in the answer, nor has a row that
 * somebody else has locked.
 */
export const claimStatement = (sql: Sql, inputs: ReadonlyArray<Claiming>) =>
  sql<Placed & { readonly fence: number }>`WITH held AS MATERIALIZED (
      SELECT asked.* FROM ${
    asked(sql, inputs, [
      ...generations(inputs),
      ["attempts", "integer", inputs.map(({ attempts }) => attempts)],
      ["lease", "float8", inputs.map(({ lease }) => Duration.toMillis(lease))]
    ])
  } ${
    locked(
      sql,
      `status = 'active' AND (phase = 'idle' OR lease_until <= clock_timestamp())
      AND (not_before IS NULL OR not_before <= clock_timestamp()) AND attempts < asked.attempts`,
      free
    )
  }
    )
    UPDATE connections
    SET phase = 'claimed', fence = fence + 1, lease_until = ${leaseOf(sql, "held")}
    FROM held WHERE ${ofHeld(sql)}
    RETURNING place, fence`

const markable = "fence = asked.fence AND status = 'active' AND phase = 'claimed'"

/** `claimed → sent`, where the claim still holds. */
const markStatement = (lock: Lock) => (sql: Sql, inputs: ReadonlyArray<Marking>) =>
  sql<Placed>`WITH held AS MATERIALIZED (
      SELECT asked.* FROM ${
    asked(sql, inputs, [
      ...generations(inputs),
      ["fence", "integer", inputs.map(({ fence }) => fence)],
      ["lease", "float8", inputs.map(({ lease }) => Duration.toMillis(lease))]
    ])
  } ${locked(sql, markable, lock)}
    )
    UPDATE connections SET phase = 'sent', attempts = attempts + 1, lease_until = ${leaseOf(sql, "held")}
    FROM held WHERE ${ofHeld(sql)}
    RETURNING place`

/** Of what is to be marked as sent. */
export const marks: Writing<Marking> = {
  statement: markStatement(free),
  locked: {
    left: (sql, inputs) => ofCondition(sql, inputs, markable, [["fence", "integer", inputs.map(({ fence }) => fence)]]),
    patient: markStatement(own)
  }
}

const committable = "status IN ('active', 'needs_reauth')"

/** Stores credentials by generation and epoch, and tells the other replicas when that commits. */
const commitStatement = (lock: Lock) => (sql: Sql, inputs: ReadonlyArray<Committing>) => {
  const column = <A>(of: (credentials: SealedCredentials) => A) => inputs.map(({ credentials }) => of(credentials))
  return sql<Placed>`WITH held AS MATERIALIZED (
      SELECT asked.* FROM ${
    asked(sql, inputs, [
      ...generations(inputs),
      ["result_id", "text", inputs.map(({ resultId }) => resultId)],
      ["topic", "text", inputs.map(({ key }) => payloadOf(connectionTopic(key)))],
      ["access_token", "bytea", column(({ accessToken }) => accessToken)],
      ["refresh_token", "bytea", column(({ refreshToken }) => refreshToken ?? null)],
      ["token_type", "text", column(({ tokenType }) => tokenType)],
      ["scopes", "text", column(({ scopes }) => scopes === undefined ? null : JSON.stringify(scopes))],
      ["issued_at", "timestamptz", column(({ issuedAt }) => DateTime.toDateUtc(issuedAt))],
      ["expires_at", "timestamptz", column(({ expiresAt }) => dateOf(expiresAt))],
      ["refresh_expires_at", "timestamptz", column(({ refreshExpiresAt }) => dateOf(refreshExpiresAt))]
    ])
  } ${locked(sql, committable, lock)}
    ), stored AS (
      UPDATE connections
      SET generation = connections.generation + 1, result_id = held.result_id, rejected_generation = NULL,
        forced = rejected_generation IS NOT DISTINCT FROM connections.generation,
        access_token = held.access_token, refresh_token = held.refresh_token, token_type = held.token_type,
        scopes = CASE WHEN held.scopes IS NOT NULL
          THEN ARRAY(SELECT jsonb_array_elements_text(held.scopes::jsonb)) END,
        issued_at = held.issued_at, expires_at = held.expires_at,
        refresh_expires_at = held.refresh_expires_at,
        renew_at = ${plannedAt(sql, sql`held.expires_at`, sql`held.refresh_expires_at`)},
        status = 'active', reauth_reason = NULL, phase = 'idle', attempts = 0, lease_until = NULL, not_before = NULL,
        updated_at = clock_timestamp()
      FROM held WHERE ${ofHeld(sql)}
      RETURNING place, topic
    )
    SELECT place, pg_notify(${channel}, topic) FROM stored`
}

/** Of credentials that are to be stored. */
export const commits: Writing<Committing> = {
  statement: commitStatement(free),
  locked: { left: (sql, inputs) => ofCondition(sql, inputs, committable), patient: commitStatement(own) }
}

type Column = readonly [name: string, type: string, values: ReadonlyArray<unknown>]

/** What is asked for, as rows. The arrays are hidden from the planner: planning for each length anew costs more than the work. */
const asked = (sql: Sql, inputs: ReadonlyArray<OfRow>, more: ReadonlyArray<Column> = []) => {
  const of = (name: keyof ConnectionKey) => inputs.map(({ key }) => key[name])
  const columns: ReadonlyArray<Column> = [
    ["tenant", "text", of("tenant")],
    ["subject", "text", of("subject")],
    ["server", "text", of("server")],
    ...more
  ]
  const arrays = columns.map(([, type, values]) =>
    // An array of nothing but nulls has no type of its own, and null makes a column of nulls as well.
    sql`(SELECT ${values.some((value) => value !== null) ? values : null}${sql.literal(`::${type}[]`)})`
  )
  const names = sql.literal(columns.map(([name]) => name).join(", "))
  return sql`(SELECT ${names}, place::integer AS place FROM unnest(${sql.csv(arrays)})
    WITH ORDINALITY AS given (${names}, place) ORDER BY given.place) AS asked`
}

const generations = (inputs: ReadonlyArray<OfGeneration>): ReadonlyArray<Column> => [
  ["generation", "integer", inputs.map(({ generation }) => generation)],
  ["epoch", "text", inputs.map(({ epoch }) => epoch)]
]

/** Locks the asked rows whose generation and epoch are still those, and for which the condition holds, in their order. */
const locked = (sql: Sql, condition: string, lock: Lock) =>
  sql`CROSS JOIN LATERAL (
        SELECT FROM connections
        WHERE tenant = asked.tenant AND subject = asked.subject AND server = asked.server
          AND generation = asked.generation AND epoch = asked.epoch AND ${sql.literal(`${condition} ${lock}`)}
      ) AS own`

/** The places of what `locked` would lock, if everybody else let go of it. */
const ofCondition = (
  sql: Sql,
  inputs: ReadonlyArray<OfGeneration>,
  condition: string,
  more: ReadonlyArray<Column> = []
) =>
  sql<Placed>`SELECT place FROM ${asked(sql, inputs, [...generations(inputs), ...more])} ${locked(sql, condition, "")}`

const ofHeld = (sql: Sql) =>
  sql`connections.tenant = held.tenant AND connections.subject = held.subject AND connections.server = held.server`

const leaseOf = (sql: Sql, row: string) => sql`clock_timestamp() + ${sql.literal(row)}.lease * interval '1 millisecond'`
