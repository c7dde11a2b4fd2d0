import type {
  Connection,
  ConnectionKey,
  ConnectionStatus,
  Epoch,
  Generation,
  ReauthReason
} from "@valetkey/domain/Connection"
import type { ConnectionWrite } from "@valetkey/domain/FlowStore"
import { planOf } from "@valetkey/domain/RenewalPlans"
import { DateTime } from "effect"
import {
  type CredentialColumns,
  credentialNames,
  credentialsOf,
  credentialValues,
  grantOf,
  millisOf,
  optionalSealedOf
} from "./columns.ts"
import type { Session } from "./openDatabase.ts"

/** The columns of `connectionNames`. */
export interface ConnectionColumns extends CredentialColumns {
  readonly epoch: Epoch
  readonly generation: Generation
  readonly status: ConnectionStatus["_tag"]
  readonly reason: ReauthReason | null
  readonly grant_json: string
  readonly client_secret: Uint8Array | null
  readonly account: Uint8Array | null
  readonly rejected: number
  readonly created_at: number
  readonly updated_at: number
  readonly forced: number
  readonly granted_at: number | null
}

/** The columns of a connection besides its key. */
export const connectionNames =
  `epoch, generation, status, reason, grant_json, client_secret, ${credentialNames}, account, rejected,
  created_at, updated_at, forced, granted_at`

/** The values of `connectionNames`, named. */
export const columnsOf = (row: ReadonlyArray<never>): ConnectionColumns => ({
  epoch: row[0]!,
  generation: row[1]!,
  status: row[2]!,
  reason: row[3]!,
  grant_json: row[4]!,
  client_secret: row[5]!,
  access_token: row[6]!,
  refresh_token: row[7]!,
  token_type: row[8]!,
  scopes: row[9]!,
  issued_at: row[10]!,
  expires_at: row[11]!,
  refresh_expires_at: row[12]!,
  account: row[13]!,
  rejected: row[14]!,
  created_at: row[15]!,
  updated_at: row[16]!,
  forced: row[17]!,
  granted_at: row[18]!
})

/**
 * The connection of a row. The columns were checked by the types and constraints on the way in; decoding them by schema
 * would cost more than the read.
 */
export const connectionOf = (row: ConnectionColumns, key: ConnectionKey): Connection => ({
  key,
  epoch: row.epoch,
  generation: row.generation,
  status: statusOf(row),
  grant: grantOf(row.grant_json),
  clientSecret: optionalSealedOf(row.client_secret),
  credentials: credentialsOf(row),
  account: optionalSealedOf(row.account),
  rejected: row.rejected === 1,
  forced: row.forced === 1,
  grantedAt: row.granted_at === null ? undefined : DateTime.makeUnsafe(row.granted_at),
  createdAt: DateTime.makeUnsafe(row.created_at),
  updatedAt: DateTime.makeUnsafe(row.updated_at)
})

/** The status of a row. */
export const statusOf = (row: Pick<ConnectionColumns, "status" | "reason">): ConnectionStatus =>
  row.status === "needs_reauth" ? { _tag: "needs_reauth", reason: row.reason! } : { _tag: row.status }

/** The values of a key's columns: tenant, subject, server. */
export const valuesOf = (key: ConnectionKey) => [key.tenant, key.subject, key.server] as const

/** Generation that the store holds for a key; 0 when it holds nothing. */
export const currentGeneration = (session: Session, key: ConnectionKey): number =>
  session.one<{ readonly generation: number }>(
    "SELECT generation FROM connections WHERE tenant = ? AND subject = ? AND server = ?",
    ...valuesOf(key)
  )?.generation ?? 0

/** Begins a new life of a connection: active, one generation further, under a new epoch. */
export const write = (session: Session, key: ConnectionKey, input: ConnectionWrite, now: number): void => {
  session.run(
    `INSERT INTO connections (tenant, subject, server, epoch, generation, status, grant_json, client_secret,
       ${credentialNames}, account, granted_at, renew_at, created_at, updated_at)
     VALUES (?, ?, ?, ?, ?, 'active', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (tenant, subject, server) DO UPDATE SET epoch = excluded.epoch, generation = excluded.generation,
       status = excluded.status, reason = NULL, grant_json = excluded.grant_json,
       client_secret = excluded.client_secret, access_token = excluded.access_token,
       refresh_token = excluded.refresh_token, token_type = excluded.token_type, scopes = excluded.scopes,
       issued_at = excluded.issued_at, expires_at = excluded.expires_at,
       refresh_expires_at = excluded.refresh_expires_at, granted_at = excluded.granted_at, ending_told = NULL,
       renew_at = excluded.renew_at, account = excluded.account, result_id = NULL,
       rejected = 0, forced = 0,
       phase = 'idle', attempts = 0, lease_until = 0, not_before = 0, updated_at = excluded.updated_at`,
    ...valuesOf(key),
    input.epoch,
    input.previous + 1,
    JSON.stringify(input.grant),
    input.clientSecret ?? null,
    ...credentialValues(input.credentials),
    input.account ?? null,
    millisOf(input.grantedAt) ?? now,
    planOf(undefined, input.credentials, now),
    now,
    now
  )
}
