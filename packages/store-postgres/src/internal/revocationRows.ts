import { Grant } from "@valetkey/domain/Connection"
import type { OutboxSecret, OwedRevocation, Revocation } from "@valetkey/domain/RevocationOutbox"
import type { RevocationCause } from "@valetkey/domain/RevocationReceipt"
import { type SealContext, Sealed } from "@valetkey/domain/Sealed"
import { TenantId } from "@valetkey/domain/Tenant"
import { DateTime, Effect, Schema } from "effect"
import { createHash } from "node:crypto"
import type { Sql } from "../Database.ts"
import { keyColumns, keyOf } from "./columns.ts"

const Context = Schema.Struct({
  table: Schema.Literals(["connections", "flows", "registrations", "servers", "spool"]),
  tenant: TenantId,
  row: Schema.String,
  field: Schema.Literals([
    "access_token",
    "refresh_token",
    "client_secret",
    "code_verifier",
    "authorization_code",
    "credentials"
  ]),
  generation: Schema.Natural
})

/** Reads the context of an entry's secret. */
export const decodeContext = Schema.decodeUnknownEffect(Context)

const RevocationRow = Schema.Struct({
  ...keyColumns,
  id: Schema.String,
  grant: Grant,
  accessToken: Schema.NullOr(Sealed),
  accessTokenContext: Schema.NullOr(Context),
  refreshToken: Schema.NullOr(Sealed),
  refreshTokenContext: Schema.NullOr(Context),
  clientSecret: Schema.NullOr(Sealed),
  clientSecretContext: Schema.NullOr(Context),
  attempts: Schema.Natural
})

/** Columns of a `Revocation`. */
export const revocationColumns = (sql: Sql) =>
  sql.literal(`revocations.tenant, revocations.subject, revocations.server, revocations.id, revocations."grant",
    revocations.access_token, revocations.access_token_context, revocations.refresh_token,
    revocations.refresh_token_context, revocations.client_secret, revocations.client_secret_context,
    revocations.attempts`)

/** Adds an entry that is due at once, with its receipt. An entry of the same id stays as it is. */
export const insertRevocation = (sql: Sql, entry: OwedRevocation, cause: RevocationCause) =>
  Effect.asVoid(sql`WITH owed AS (
      INSERT INTO revocations (tenant, id, subject, server, "grant", access_token, access_token_context,
        refresh_token, refresh_token_context, client_secret, client_secret_context, due_at, created_at)
      VALUES (${entry.key.tenant}, ${entry.id}, ${entry.key.subject}, ${entry.key.server}, ${sql.json(entry.grant)},
        ${entry.accessToken?.sealed ?? null}, ${contextOf(sql, entry.accessToken)},
        ${entry.refreshToken?.sealed ?? null}, ${contextOf(sql, entry.refreshToken)},
        ${entry.clientSecret?.sealed ?? null}, ${contextOf(sql, entry.clientSecret)},
        clock_timestamp(), clock_timestamp())
      ON CONFLICT DO NOTHING
      RETURNING tenant, subject, server, id, due_at,
        CASE WHEN access_token IS NOT NULL THEN 'pending' END AS access_token,
        CASE WHEN refresh_token IS NOT NULL THEN 'pending' END AS refresh_token
    )
    INSERT INTO revocation_receipts (tenant, subject, server, id, revocation, cause, access_token, refresh_token,
      access_token_expires_at, attempts, created_at, next_attempt_at)
    SELECT tenant, subject, server, ${receiptIdOf(entry.id)}, id, ${cause}, access_token, refresh_token,
      ${entry.accessTokenExpiresAt === undefined ? null : DateTime.toDateUtc(entry.accessTokenExpiresAt)}::timestamptz,
      0, date_trunc('milliseconds', due_at), due_at
    FROM owed
    ON CONFLICT DO NOTHING`)

/** The cause of a mark in the table of receipts, which is that of no receipt. */
export const forgotten = "forgotten"

/** The name of the receipt of an entry, or of a mark. */
export const receiptIdOf = (id: string): string => createHash("sha256").update(id).digest("base64url")

/** Reads a `Revocation`. */
export const decodeRevocation = (row: unknown): Effect.Effect<Revocation, Schema.SchemaError> =>
  Effect.map(decodeRow(row), (row) => ({
    id: row.id,
    key: keyOf(row),
    grant: row.grant,
    accessToken: secretOf(row.accessToken, row.accessTokenContext),
    refreshToken: secretOf(row.refreshToken, row.refreshTokenContext),
    clientSecret: secretOf(row.clientSecret, row.clientSecretContext),
    attempts: row.attempts
  }))

const decodeRow = Schema.decodeUnknownEffect(RevocationRow)

const contextOf = (sql: Sql, secret: OutboxSecret | undefined) =>
  secret === undefined ? sql.literal("NULL") : sql.json(secret.context)

const secretOf = (sealed: Sealed | null, context: SealContext | null): OutboxSecret | undefined =>
  sealed === null || context === null ? undefined : { sealed, context }
