import type { Grant } from "@valetkey/domain/Connection"
import type { OutboxSecret, Revocation } from "@valetkey/domain/RevocationOutbox"
import type { SealContext } from "@valetkey/domain/Sealed"
import { grantOf, type KeyColumns, keyOf, sealedOf } from "./columns.ts"
import { valuesOf } from "./connectionRows.ts"
import { fromJson, type Session } from "./openDatabase.ts"

/** A row of the outbox. */
export interface RevocationColumns extends KeyColumns {
  readonly id: string
  readonly grant_json: string
  readonly access_token: Uint8Array | null
  readonly access_token_context: string | null
  readonly refresh_token: Uint8Array | null
  readonly refresh_token_context: string | null
  readonly client_secret: Uint8Array | null
  readonly client_secret_context: string | null
  readonly attempts: number
}

/** Adds an entry that is due at once; one that is there already stays as it is. */
export const addRevocation = (session: Session, revocation: Omit<Revocation, "attempts">, now: number): void => {
  session.run(
    `INSERT INTO outbox (tenant, subject, server, id, grant_json, access_token, access_token_context, refresh_token,
       refresh_token_context, client_secret, client_secret_context, due_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
    ...valuesOf(revocation.key),
    revocation.id,
    JSON.stringify(revocation.grant satisfies Grant),
    ...secretValues(revocation.accessToken),
    ...secretValues(revocation.refreshToken),
    ...secretValues(revocation.clientSecret),
    now
  )
}

/** The entry of a row. */
export const revocationOf = (row: RevocationColumns): Revocation => ({
  id: row.id,
  key: keyOf(row),
  grant: grantOf(row.grant_json),
  accessToken: secretOf(row.access_token, row.access_token_context),
  refreshToken: secretOf(row.refresh_token, row.refresh_token_context),
  clientSecret: secretOf(row.client_secret, row.client_secret_context),
  attempts: row.attempts
})

const secretValues = (secret: OutboxSecret | undefined) =>
  secret === undefined ? [null, null] as const : [secret.sealed, JSON.stringify(secret.context)] as const

const secretOf = (sealed: Uint8Array | null, context: string | null): OutboxSecret | undefined =>
  sealed === null || context === null
    ? undefined
    : { sealed: sealedOf(sealed), context: fromJson<SealContext>(context) }
