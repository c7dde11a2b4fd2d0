import { type DateTime, Schema } from "effect"
import { rowOf, type SealContext, Sealed } from "./Sealed.ts"
import {
  HttpUrl,
  RedemptionPolicy,
  ServerSlug,
  TokenDialect,
  TokenEndpointAuthMethod,
  UnattendedGrant
} from "./Server.ts"
import { SubjectId } from "./Subject.ts"
import { TenantId } from "./Tenant.ts"

/** Key of everything that belongs to one person at one server: tenant, subject and server. */
export class ConnectionKey extends Schema.Class<ConnectionKey>("valetkey/ConnectionKey")({
  tenant: TenantId,
  subject: SubjectId,
  server: ServerSlug
}) {
  #path: string | undefined

  /** The key as one string; different keys never share it. */
  get path(): string {
    return this.#path ??= rowOf(this.tenant, this.subject, this.server)
  }
}

/** Schema for the mark of one life of a connection: it changes when the connection is deleted, revoked or connected anew. */
export const Epoch = Schema.String.check(Schema.isBetweenLength(1, 64)).pipe(Schema.brand("Epoch"))
export type Epoch = typeof Epoch.Type

/** Schema for the count of a connection's credentials. It strictly increases for as long as the connection row lives, across consents and deposits. */
export const Generation = Schema.Natural.pipe(Schema.brand("Generation"))
export type Generation = typeof Generation.Type

/** Schema for why a person must consent again. */
export const ReauthReason = Schema.Literals([
  "refresh_token_rejected",
  "unknown_outcome",
  "no_refresh_token",
  "restored_credentials",
  "account_changed",
  /** Refused after it had lain unused for as long as the provider lets one. */
  "refresh_token_idled_out",
  /** Refused after the grant had lasted for as long as the provider lets one. */
  "grant_expired"
])
export type ReauthReason = typeof ReauthReason.Type

/** Schema for the state of a connection. Only `active` hands out tokens. */
export const ConnectionStatus = Schema.TaggedUnion({
  active: {},
  needs_reauth: { reason: ReauthReason },
  revoking: {},
  quarantined: {}
})
export type ConnectionStatus = typeof ConnectionStatus.Type

/** Schema for what a refresh must know besides the tokens, frozen when the person consented: whose client, which endpoints. */
export const Grant = Schema.Struct({
  issuer: HttpUrl,
  tokenEndpoint: HttpUrl,
  revocationEndpoint: Schema.optionalKey(HttpUrl),
  /** Where to ask when a token ends whose answer does not say so (RFC 7662); absent where nobody is to be asked. */
  introspectionEndpoint: Schema.optionalKey(HttpUrl),
  clientId: Schema.String.check(Schema.isBetweenLength(1, 2048)),
  authMethod: TokenEndpointAuthMethod,
  /** The resource indicator to repeat at refresh (RFC 8707); absent when the provider refuses it. */
  resource: Schema.optionalKey(HttpUrl),
  /** The resource URL of the server at the consent: tokens of this grant are for it alone, wherever the server moves to. */
  destination: Schema.optionalKey(HttpUrl),
  redemptionPolicy: RedemptionPolicy,
  /** What stands in the place of the access token: the ID token of an identity provider. It is handed to nobody. */
  keeps: Schema.optionalKey(Schema.Literal("id_token")),
  /** How a token is asked for, and with which scopes, where nobody consented and no refresh token is redeemed. */
  unattended: Schema.optionalKey(Schema.Struct({ grant: UnattendedGrant, scopes: Schema.Array(Schema.String) })),
  /** How the endpoints are spoken to; absent where they speak the standards. */
  dialect: Schema.optionalKey(TokenDialect)
})
export type Grant = typeof Grant.Type

/** Schema for the credentials of one generation as they are stored: secrets sealed, the rest readable without a key. */
export const SealedCredentials = Schema.Struct({
  accessToken: Sealed,
  refreshToken: Schema.optionalKey(Sealed),
  tokenType: Schema.String,
  /** Granted scopes; absent when the server said nothing. */
  scopes: Schema.optionalKey(Schema.Array(Schema.String)),
  issuedAt: Schema.DateTimeUtc,
  expiresAt: Schema.optionalKey(Schema.DateTimeUtc),
  /** When the refresh token ends unless it is redeemed before, where the server says so. */
  refreshExpiresAt: Schema.optionalKey(Schema.DateTimeUtc)
})
export type SealedCredentials = typeof SealedCredentials.Type

/** The seal context of one of a connection's secrets. The epoch is part of the row, so nothing of a former life opens. */
export const sealContext = (
  key: ConnectionKey,
  epoch: Epoch,
  field: "access_token" | "refresh_token" | "client_secret" | "account",
  generation: number
): SealContext => ({
  table: "connections",
  tenant: key.tenant,
  row: rowOf(key.subject, key.server, epoch),
  field,
  generation
})

/** The standing relation of one person to one server, as a store returns it. */
export interface Connection {
  readonly key: ConnectionKey
  readonly epoch: Epoch
  readonly generation: Generation
  readonly status: ConnectionStatus
  readonly grant: Grant
  /** Sealed in the connection's context, generation 0. */
  readonly clientSecret?: Sealed | undefined
  readonly credentials: SealedCredentials
  /** Whose credentials they are at the provider, where that is known. Sealed in the connection's context, generation 0. */
  readonly account?: Sealed | undefined
  /** The generation that a caller proved to be refused by the resource, if it is the current one. */
  readonly rejected: boolean
  /** Whether these credentials were obtained because the resource had refused those before. */
  readonly forced: boolean
  /** When the grant was given, or was deposited here; a refresh leaves it. Absent where an older version stored it. */
  readonly grantedAt?: DateTime.Utc | undefined
  readonly createdAt: DateTime.Utc
  readonly updatedAt: DateTime.Utc
}

/** Whether another access token can be had without a person. */
export const isRenewable = ({ credentials, grant }: Pick<Connection, "credentials" | "grant">): boolean =>
  credentials.refreshToken !== undefined || grant.unattended !== undefined
