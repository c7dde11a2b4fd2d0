import type { ConnectionKey } from "@valetkey/domain/Connection"
import type { ConnectionWrite } from "@valetkey/domain/FlowStore"
import { credentialNames, credentialValues } from "./columns.ts"
import type { Session } from "./openDatabase.ts"

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
       ${credentialNames}, account, created_at, updated_at)
     VALUES (?, ?, ?, ?, ?, 'active', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (tenant, subject, server) DO UPDATE SET epoch = excluded.epoch, generation = excluded.generation,
       status = excluded.status, reason = NULL, grant_json = excluded.grant_json,
       client_secret = excluded.client_secret, access_token = excluded.access_token,
       refresh_token = excluded.refresh_token, token_type = excluded.token_type, scopes = excluded.scopes,
       issued_at = excluded.issued_at, expires_at = excluded.expires_at, account = excluded.account, result_id = NULL,
       rejected = 0, forced = 0,
       phase = 'idle', attempts = 0, lease_until = 0, not_before = 0, updated_at = excluded.updated_at`,
    ...valuesOf(key),
    input.epoch,
    input.previous + 1,
    JSON.stringify(input.grant),
    input.clientSecret ?? null,
    ...credentialValues(input.credentials),
    input.account ?? null,
    now,
    now
  )
}
