import type { ConnectionKey, Epoch, Grant } from "@valetkey/domain/Connection"
import {
  forgettingOf,
  type OutboxSecret,
  type OwedRevocation,
  type Revocation
} from "@valetkey/domain/RevocationOutbox"
import type {
  ReceiptId,
  RevocationCause,
  RevocationProgress,
  RevocationReceipt,
  TokenRevocation
} from "@valetkey/domain/RevocationReceipt"
import type { SealContext } from "@valetkey/domain/Sealed"
import { DateTime } from "effect"
import { hash } from "node:crypto"
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

/** A row of the receipts. */
export interface ReceiptColumns extends KeyColumns {
  readonly id: ReceiptId
  readonly cause: RevocationCause
  readonly access_token: TokenRevocation | null
  readonly refresh_token: TokenRevocation | null
  readonly access_token_expires_at: number | null
  readonly attempts: number
  readonly error: string | null
  readonly created_at: number
  readonly next_attempt_at: number | null
  readonly settled_at: number | null
}

/** Adds an entry that is due at once, with its receipt; one that is there already stays as it is. */
export const addRevocation = (session: Session, owed: OwedRevocation, cause: RevocationCause, now: number): void => {
  session.run(
    `INSERT INTO outbox (tenant, subject, server, id, grant_json, access_token, access_token_context, refresh_token,
       refresh_token_context, client_secret, client_secret_context, due_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
    ...valuesOf(owed.key),
    owed.id,
    JSON.stringify(owed.grant satisfies Grant),
    ...secretValues(owed.accessToken),
    ...secretValues(owed.refreshToken),
    ...secretValues(owed.clientSecret),
    now
  )
  session.run(
    `INSERT INTO revocation_receipts (tenant, subject, server, id, revocation, cause, access_token, refresh_token,
       access_token_expires_at, attempts, created_at, next_attempt_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?) ON CONFLICT DO NOTHING`,
    ...valuesOf(owed.key),
    receiptIdOf(owed.id),
    owed.id,
    cause,
    owed.accessToken === undefined ? null : "pending",
    owed.refreshToken === undefined ? null : "pending",
    owed.accessTokenExpiresAt === undefined ? null : DateTime.toEpochMillis(owed.accessTokenExpiresAt),
    now,
    now
  )
}

/** The cause of a mark in the table of receipts, which is that of no receipt. */
export const forgotten = "forgotten"

/** Marks one life of a connection as forgotten. */
export const markForgotten = (session: Session, key: ConnectionKey, epoch: Epoch, now: number): void => {
  const name = forgettingOf(key, epoch)
  session.run(
    `INSERT INTO revocation_receipts (tenant, subject, server, id, revocation, cause, attempts, created_at, settled_at)
     VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?) ON CONFLICT DO NOTHING`,
    ...valuesOf(key),
    receiptIdOf(name),
    name,
    forgotten,
    now,
    now
  )
}

/** The name of the receipt of an entry, or of a mark. */
export const receiptIdOf = (id: string): string => hash("sha256", id, "base64url")

/**
 * Writes what attempts have brought: before the end, or at the end, where what is pending is given up. An entry from
 * before there were receipts gets one now.
 */
export const noteProgress = (
  session: Session,
  id: string,
  progress: RevocationProgress | undefined,
  now: number,
  time: { readonly next: number } | { readonly end: number }
): void => {
  const isEnd = "end" in time
  session.run(
    `INSERT INTO revocation_receipts (tenant, subject, server, id, revocation, cause, access_token, refresh_token,
       attempts, created_at, next_attempt_at)
     SELECT tenant, subject, server, ?, id, 'disconnect', iif(access_token IS NULL, NULL, 'pending'),
       iif(refresh_token IS NULL, NULL, 'pending'), attempts, ?, ? FROM outbox WHERE id = ?
     ON CONFLICT DO NOTHING`,
    receiptIdOf(id),
    now,
    now,
    id
  )
  session.run(
    `UPDATE revocation_receipts SET
       access_token = ${toldOf("access_token")}, refresh_token = ${toldOf("refresh_token")},
       error = iif(?, ?, error), next_attempt_at = ?, settled_at = ?,
       attempts = (SELECT outbox.attempts FROM outbox WHERE outbox.id = revocation)
     WHERE revocation = ? AND EXISTS (SELECT 1 FROM outbox WHERE outbox.id = revocation)`,
    ...toldValues(progress?.accessToken, isEnd),
    ...toldValues(progress?.refreshToken, isEnd),
    Number(progress !== undefined),
    progress?.error ?? null,
    isEnd ? null : time.next,
    isEnd ? time.end : null,
    id
  )
}

/** What was confirmed once stays so; at the end nothing is pending. */
const toldOf = (column: "access_token" | "refresh_token"): string =>
  `CASE WHEN ${column} = 'confirmed' THEN ${column}
     WHEN ? AND coalesce(?, ${column}) = 'pending' THEN 'given_up' ELSE coalesce(?, ${column}) END`

const toldValues = (outcome: TokenRevocation | undefined, isEnd: boolean) =>
  [Number(isEnd), outcome ?? null, outcome ?? null] as const

/** The receipt of a row. */
export const receiptOf = (row: ReceiptColumns): RevocationReceipt => ({
  id: row.id,
  key: keyOf(row),
  cause: row.cause,
  createdAt: DateTime.makeUnsafe(row.created_at),
  attempts: row.attempts,
  ...(row.access_token === null ? undefined : { accessToken: row.access_token }),
  ...(row.refresh_token === null ? undefined : { refreshToken: row.refresh_token }),
  ...(row.access_token_expires_at === null
    ? undefined
    : { accessTokenExpiresAt: DateTime.makeUnsafe(row.access_token_expires_at) }),
  ...(row.error === null ? undefined : { error: row.error }),
  ...(row.next_attempt_at === null ? undefined : { nextAttemptAt: DateTime.makeUnsafe(row.next_attempt_at) }),
  ...(row.settled_at === null ? undefined : { settledAt: DateTime.makeUnsafe(row.settled_at) })
})

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
