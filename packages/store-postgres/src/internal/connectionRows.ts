import {
  type Connection,
  type ConnectionStatus,
  Epoch,
  Generation,
  Grant,
  ReauthReason,
  type SealedCredentials
} from "@valetkey/domain/Connection"
import * as Memo from "@valetkey/domain/Memo"
import { RefreshPhase, type RefreshState } from "@valetkey/domain/Refresh"
import { soon } from "@valetkey/domain/RenewalPlans"
import { Sealed } from "@valetkey/domain/Sealed"
import { DateTime, Effect, Exit, Schema } from "effect"
import type * as Statement from "effect/sql/Statement"
import type { Sql } from "../Database.ts"
import { type KeyColumns, keyColumns, keyOf, orNull } from "./columns.ts"
import { after } from "./databaseTime.ts"
import { forecastLife } from "./migration26.ts"

const status = {
  status: Schema.Literals(["active", "needs_reauth", "revoking", "quarantined"]),
  reauthReason: orNull(ReauthReason)
}

const ConnectionRow = Schema.Struct({
  ...status,
  ...keyColumns,
  epoch: Epoch,
  generation: Generation,
  grant: Schema.String,
  clientSecret: orNull(Sealed),
  accessToken: orNull(Sealed),
  refreshToken: orNull(Sealed),
  tokenType: Schema.String,
  scopes: orNull(Schema.Array(Schema.String)),
  issuedAt: Schema.Date,
  expiresAt: orNull(Schema.Date),
  account: orNull(Sealed),
  rejected: Schema.Boolean,
  forced: Schema.Boolean,
  refreshExpiresAt: orNull(Schema.Date),
  grantedAt: orNull(Schema.Date),
  createdAt: Schema.Date,
  updatedAt: Schema.Date
})

const RefreshRow = Schema.Struct({
  ...status,
  generation: Generation,
  epoch: Epoch,
  phase: RefreshPhase,
  fence: Schema.Natural,
  attempts: Schema.Natural,
  leaseUntil: Schema.Number,
  notBefore: Schema.Number,
  now: Schema.Number
})

/** Columns of a `Connection`, under the names of a `ConnectionRow`: no row has to be renamed. */
export const connectionColumns = (sql: Sql) =>
  sql.literal(`tenant, subject, server, epoch, generation, status, reauth_reason AS "reauthReason",
    "grant"::text AS "grant", client_secret AS "clientSecret", access_token AS "accessToken",
    refresh_token AS "refreshToken", token_type AS "tokenType", scopes, issued_at AS "issuedAt",
    expires_at AS "expiresAt", account, created_at AS "createdAt", updated_at AS "updatedAt",
    rejected_generation IS NOT DISTINCT FROM generation AS rejected, forced,
    refresh_expires_at AS "refreshExpiresAt", granted_at AS "grantedAt"`)

/** Columns of a `RefreshState`, and the time that they are to be judged at, under the names of a `RefreshRow`. */
export const refreshColumns = (sql: Sql) =>
  sql.literal(`status, reauth_reason AS "reauthReason", generation, epoch, phase, fence, attempts,
    coalesce(extract(epoch FROM lease_until) * 1000, 0)::float8 AS "leaseUntil",
    coalesce(extract(epoch FROM not_before) * 1000, 0)::float8 AS "notBefore",
    (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now`)

/** Condition of one connection. */
export const ofKey = (sql: Sql, key: KeyColumns) =>
  sql`tenant = ${key.tenant} AND subject = ${key.subject} AND server = ${key.server}`

/** When a connection is looked at next whose new credentials end then: `RenewalPlans.planOf`. */
export const plannedAt = (sql: Sql, expiresAt: Statement.Fragment, refreshExpiresAt: Statement.Fragment) =>
  sql`CASE WHEN renew_at <= coalesce(least(${expiresAt}, ${refreshExpiresAt}), 'infinity') THEN renew_at
      ELSE ${after(sql, soon)} END`

/** Assignments of new credentials, with a refresh that starts from nothing. */
const credentialColumns = (sql: Sql, credentials: SealedCredentials) =>
  sql`access_token = ${credentials.accessToken}, refresh_token = ${credentials.refreshToken ?? null},
    token_type = ${credentials.tokenType}, scopes = ${scopesOf(credentials)}::text[],
    issued_at = ${DateTime.toDateUtc(credentials.issuedAt)}, expires_at = ${dateOf(credentials.expiresAt)},
    refresh_expires_at = ${dateOf(credentials.refreshExpiresAt)},
    renew_at = ${
    plannedAt(
      sql,
      sql`${dateOf(credentials.expiresAt)}::timestamptz`,
      sql`${dateOf(credentials.refreshExpiresAt)}::timestamptz`
    )
  },
    status = 'active', reauth_reason = NULL, phase = 'idle', attempts = 0, lease_until = NULL, not_before = NULL,
    updated_at = clock_timestamp()`

/**
 * Statement that writes a connection one generation beyond `previous` under a new epoch, and returns no row when the
 * generation is another one. `owner` is one row of FROM with that name, or none: the columns of the connection's key.
 */
export const connectionStatement = (sql: Sql, owner: Statement.Fragment, write: {
  readonly epoch: Epoch
  readonly previous: number
  readonly grant: Grant
  readonly clientSecret?: Sealed | undefined
  readonly credentials: SealedCredentials
  readonly account?: Sealed | undefined
  readonly grantedAt?: DateTime.Utc | undefined
}) => {
  const { credentials } = write
  return write.previous === 0
    ? sql`INSERT INTO connections (tenant, subject, server, epoch, generation, "grant", client_secret, access_token,
        refresh_token, token_type, scopes, issued_at, expires_at, refresh_expires_at, account, granted_at, created_at,
        updated_at)
      SELECT owner.tenant, owner.subject, owner.server, ${write.epoch}, 1, ${sql.json(write.grant)},
        ${write.clientSecret ?? null}::bytea, ${credentials.accessToken}, ${credentials.refreshToken ?? null}::bytea,
        ${credentials.tokenType}, ${scopesOf(credentials)}::text[], ${DateTime.toDateUtc(credentials.issuedAt)},
        ${dateOf(credentials.expiresAt)}::timestamptz, ${dateOf(credentials.refreshExpiresAt)}::timestamptz,
        ${write.account ?? null}::bytea, coalesce(${dateOf(write.grantedAt)}::timestamptz, now), now, now
      FROM ${owner}, (SELECT clock_timestamp() AS now) AS moment
      ON CONFLICT (tenant, subject, server) DO NOTHING
      RETURNING generation`
    : sql`UPDATE connections SET epoch = ${write.epoch}, generation = generation + 1, "grant" = ${
      sql.json(write.grant)
    },
        client_secret = ${write.clientSecret ?? null}, account = ${write.account ?? null}, rejected_generation = NULL,
        granted_at = coalesce(${dateOf(write.grantedAt)}::timestamptz, clock_timestamp()), ending_told = NULL,
        forced = false, result_id = NULL,
        ${credentialColumns(sql, credentials)}
      FROM ${owner}, (SELECT set_config('${sql.literal(forecastLife)}', ${write.epoch}, true)) AS said
      WHERE connections.tenant = owner.tenant AND connections.subject = owner.subject
        AND connections.server = owner.server AND generation = ${write.previous}
      RETURNING generation`
}

/** Runs the statement for a known key. False when the generation is another one. */
export const writeConnection = (sql: Sql, key: KeyColumns, write: Parameters<typeof connectionStatement>[2]) =>
  Effect.map(
    connectionStatement(
      sql,
      sql`(SELECT ${key.tenant}::text AS tenant, ${key.subject}::text AS subject, ${key.server}::text AS server) AS owner`,
      write
    ),
    (rows) => rows.length > 0
  )

/** Reads a `Connection`. One that is being revoked has no secrets: its access token is empty. */
export const decodeConnection = (row: unknown): Effect.Effect<Connection, Schema.SchemaError> =>
  Effect.flatMap(decodeConnectionRow(row), (row) =>
    Effect.map(grantOf(row.grant), (grant) => ({
      key: keyOf(row),
      epoch: row.epoch,
      generation: row.generation,
      status: statusOf(row),
      grant,
      clientSecret: row.clientSecret ?? undefined,
      credentials: {
        accessToken: row.accessToken ?? noSecret,
        tokenType: row.tokenType,
        issuedAt: DateTime.fromDateUnsafe(row.issuedAt),
        ...(row.refreshToken === null ? undefined : { refreshToken: row.refreshToken }),
        ...(row.scopes === null ? undefined : { scopes: row.scopes }),
        ...(row.expiresAt === null ? undefined : { expiresAt: DateTime.fromDateUnsafe(row.expiresAt) }),
        ...(row.refreshExpiresAt === null
          ? undefined
          : { refreshExpiresAt: DateTime.fromDateUnsafe(row.refreshExpiresAt) })
      },
      account: row.account ?? undefined,
      rejected: row.rejected,
      forced: row.forced,
      grantedAt: row.grantedAt === null ? undefined : DateTime.fromDateUnsafe(row.grantedAt),
      createdAt: DateTime.fromDateUnsafe(row.createdAt),
      updatedAt: DateTime.fromDateUnsafe(row.updatedAt)
    })))

const decodeGrant = Schema.decodeUnknownExit(Schema.fromJsonString(Grant))

/** The grant of a row. It lives as long as its connection, is read with every token and is often the same for all people of a server. */
const grantOf = Memo.make((text) => Exit.map(decodeGrant(text), (grant) => Object.freeze(grant)))

/** Reads a `RefreshState` and the database's time in milliseconds. */
export const decodeRefresh = (
  row: unknown
): Effect.Effect<{ readonly state: RefreshState; readonly now: number }, Schema.SchemaError> =>
  Effect.map(decodeRefreshRow(row), ({ now, reauthReason, status, ...state }) => ({
    state: { ...state, status: statusOf({ status, reauthReason }) },
    now
  }))

const decodeConnectionRow = Schema.decodeUnknownEffect(ConnectionRow)
const decodeRefreshRow = Schema.decodeUnknownEffect(RefreshRow)

const noSecret = Sealed.make(new Uint8Array())

const statusOf = (row: {
  readonly status: ConnectionStatus["_tag"]
  readonly reauthReason: ReauthReason | null
}): ConnectionStatus =>
  row.status === "needs_reauth"
    ? { _tag: "needs_reauth", reason: row.reauthReason ?? "unknown_outcome" }
    : { _tag: row.status }

const scopesOf = ({ scopes }: SealedCredentials): ReadonlyArray<string> | null => scopes ?? null

/** A date as a parameter. */
export const dateOf = (date: DateTime.Utc | undefined): Date | null =>
  date === undefined ? null : DateTime.toDateUtc(date)
