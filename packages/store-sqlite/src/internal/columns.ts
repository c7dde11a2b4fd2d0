import { ConnectionKey, type Grant, type SealedCredentials } from "@valetkey/domain/Connection"
import * as Memo from "@valetkey/domain/Memo"
import { Sealed } from "@valetkey/domain/Sealed"
import type { ServerSlug } from "@valetkey/domain/Server"
import type { SubjectId } from "@valetkey/domain/Subject"
import type { TenantId } from "@valetkey/domain/Tenant"
import { DateTime, Duration } from "effect"
import { fromJson } from "./openDatabase.ts"

/** The columns of a connection key. They were checked when they were written. */
export interface KeyColumns {
  readonly tenant: TenantId
  readonly subject: SubjectId
  readonly server: ServerSlug
}

/** The key of a row. */
export const keyOf = ({ server, subject, tenant }: KeyColumns): ConnectionKey =>
  new ConnectionKey({ tenant, subject, server }, { disableChecks: true })

/** The columns of one generation's credentials. A row without secrets has no access token. */
export interface CredentialColumns {
  readonly access_token: Uint8Array | null
  readonly refresh_token: Uint8Array | null
  readonly token_type: string
  readonly scopes: string | null
  readonly issued_at: number
  readonly expires_at: number | null
  readonly refresh_expires_at: number | null
}

/** The values of the credential columns, in the order of `credentialNames`. */
export const credentialValues = (credentials: SealedCredentials) =>
  [
    credentials.accessToken,
    credentials.refreshToken ?? null,
    credentials.tokenType,
    credentials.scopes === undefined ? null : JSON.stringify(credentials.scopes),
    DateTime.toEpochMillis(credentials.issuedAt),
    millisOf(credentials.expiresAt),
    millisOf(credentials.refreshExpiresAt)
  ] as const

/** A date as a column holds it. */
export const millisOf = (date: DateTime.Utc | undefined): number | null =>
  date === undefined ? null : DateTime.toEpochMillis(date)

/** The names of the credential columns. */
export const credentialNames =
  "access_token, refresh_token, token_type, scopes, issued_at, expires_at, refresh_expires_at"

/** The credentials of a row. */
export const credentialsOf = (row: CredentialColumns): SealedCredentials => ({
  accessToken: row.access_token === null ? nothing : sealedOf(row.access_token),
  tokenType: row.token_type,
  issuedAt: DateTime.makeUnsafe(row.issued_at),
  ...(row.refresh_token === null ? undefined : { refreshToken: sealedOf(row.refresh_token) }),
  ...(row.scopes === null ? undefined : { scopes: fromJson<ReadonlyArray<string>>(row.scopes) }),
  ...(row.expires_at === null ? undefined : { expiresAt: DateTime.makeUnsafe(row.expires_at) }),
  ...(row.refresh_expires_at === null ? undefined : { refreshExpiresAt: DateTime.makeUnsafe(row.refresh_expires_at) })
})

/** The grant of a row. A grant lives as long as its connection and is read with every token, so its text is parsed once. */
export const grantOf = Memo.make((text) => Object.freeze(fromJson<Grant>(text)))

/** Bytes of a row as an envelope; only a cipher looks inside. */
export const sealedOf = (bytes: Uint8Array): Sealed => bytes as Sealed

/** An envelope that may be absent. */
export const optionalSealedOf = (bytes: Uint8Array | null): Sealed | undefined =>
  bytes === null ? undefined : sealedOf(bytes)

/** The end of a duration that begins now, in whole milliseconds. */
export const after = (now: number, duration: Duration.Duration): number => now + Math.ceil(Duration.toMillis(duration))

const nothing = Sealed.make(new Uint8Array())
