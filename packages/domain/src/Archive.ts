import { Schema } from "effect"
import { AccountChange, NamedAccount } from "./Account.ts"
import { archiveFormat, archiveVersion } from "./ArchiveLimits.ts"
import { refreshTermsFields } from "./RefreshTerms.ts"
import {
  HttpUrl,
  Quirks,
  RedemptionPolicy,
  ScopeToken,
  ServerSlug,
  StaticEndpoints,
  TokenEndpointAuthMethod
} from "./Server.ts"

/** Schema for a server in an archive. Its client's secret is that of the connection, or is left out. */
export const ArchivedServer = Schema.Struct({
  name: Schema.optionalKey(Schema.String.check(Schema.isBetweenLength(1, 255))),
  resource: HttpUrl,
  issuer: Schema.optionalKey(HttpUrl),
  endpoints: Schema.optionalKey(StaticEndpoints),
  scopes: Schema.optionalKey(Schema.Array(ScopeToken)),
  accountChange: Schema.optionalKey(AccountChange),
  ...refreshTermsFields,
  client: Schema.optionalKey(Schema.Struct({
    clientId: Schema.String.check(Schema.isBetweenLength(1, 2048)),
    authMethod: TokenEndpointAuthMethod,
    redirectUri: Schema.optionalKey(HttpUrl)
  })),
  quirks: Schema.optionalKey(Quirks)
})
export type ArchivedServer = typeof ArchivedServer.Type

const Secret = Schema.RedactedFromValue(Schema.NonEmptyString)

/**
 * Schema for a connection in an archive: the members of a deposit, and the server that it belongs to. A person who writes
 * one by hand gives a server, a client, a refresh token, and a token endpoint, an issuer or a resource.
 */
export const ArchivedConnection = Schema.Struct({
  server: ServerSlug,
  definition: Schema.optionalKey(ArchivedServer),
  tokenEndpoint: Schema.optionalKey(HttpUrl),
  issuer: Schema.optionalKey(HttpUrl),
  revocationEndpoint: Schema.optionalKey(HttpUrl),
  resource: Schema.optionalKey(HttpUrl),
  redemptionPolicy: Schema.optionalKey(RedemptionPolicy),
  clientId: Schema.String.check(Schema.isBetweenLength(1, 2048)),
  clientSecret: Schema.optionalKey(Secret),
  authMethod: Schema.optionalKey(TokenEndpointAuthMethod),
  refreshToken: Secret,
  accessToken: Schema.optionalKey(Secret),
  tokenType: Schema.optionalKey(Schema.String),
  /** The private key that the tokens are bound to, as a JWK (RFC 9449). */
  proofKey: Schema.optionalKey(Secret),
  scopes: Schema.optionalKey(Schema.Array(Schema.String)),
  expiresAt: Schema.optionalKey(Schema.DateTimeUtcFromString),
  /** When the refresh token ends unless it is redeemed. */
  refreshExpiresAt: Schema.optionalKey(Schema.DateTimeUtcFromString),
  /** When the person consented. */
  grantedAt: Schema.optionalKey(Schema.DateTimeUtcFromString),
  /** Whose they are at the provider. */
  account: Schema.optionalKey(NamedAccount)
})
export type ArchivedConnection = typeof ArchivedConnection.Type

/** Schema for the document inside an archive. It holds secrets in the clear, so that only a sealed one ever leaves a server. */
export const Archive = Schema.Struct({
  format: Schema.Literal(archiveFormat),
  version: Schema.Literal(archiveVersion),
  exportedAt: Schema.optionalKey(Schema.DateTimeUtcFromString),
  connections: Schema.Array(ArchivedConnection)
})
export type Archive = typeof Archive.Type
