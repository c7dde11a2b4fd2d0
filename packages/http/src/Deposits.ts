import type { DepositPayload } from "@valetkey/api/ConnectionsApi"
import { type Account, labelOf } from "@valetkey/domain/Account"
import type { ConnectionKey, Grant } from "@valetkey/domain/Connection"
import type { Deposit, DepositCondition } from "@valetkey/domain/Connections"
import { notYet } from "@valetkey/domain/Credentials"
import { Server, type TokenCustody, type TokenDialect } from "@valetkey/domain/Server"
import type { DateTime } from "effect"
import { Redacted } from "effect"

/** Where a deposit will be refreshed and revoked. */
export type Endpoints = Pick<Grant, "issuer" | "tokenEndpoint" | "revocationEndpoint" | "resource">

/** The endpoints that a deposit names itself; undefined when its issuer must be asked. */
export const endpointsOf = ({ issuer, tokenEndpoint }: DepositPayload): Endpoints | undefined =>
  tokenEndpoint === undefined ? undefined : { issuer: issuer ?? new URL(tokenEndpoint).origin, tokenEndpoint }

/** The server whose discovery tells the endpoints of a deposit that names no more than its issuer or its resource. */
export const serverOf = ({ server, tenant }: ConnectionKey, { issuer, resource = "" }: DepositPayload): Server =>
  new Server({
    tenant,
    slug: server,
    resource: issuer ?? resource,
    ...(issuer === undefined ? {} : { issuer }),
    // Nobody is sent to the authorization endpoint.
    quirks: { assumePkceSupport: true }
  })

/** What must be there for the deposit to be stored. `If-Match` is the stricter wish and decides. */
export const conditionOf = (payload: DepositPayload, ifMatch: string | undefined): DepositCondition =>
  ifMatch !== undefined
    ? { _tag: "Generation", generation: Number(ifMatch.slice(1, -1)) }
    : { _tag: payload.replace === true ? "Any" : "Absent" }

const accountOf = ({ id, issuer, label: text }: NonNullable<DepositPayload["account"]>): Account => {
  const label = labelOf(text)
  return { issuer, id, ...(label === undefined ? {} : { label }) }
}

/**
 * What is stored of a deposit. Without an access token, or when the credentials are to be proved, the connection begins with one that has just ended, so that the
 * first use refreshes.
 */
export const depositOf = (
  payload: DepositPayload,
  { custody, destination, dialect, ...endpoints }: Endpoints & {
    readonly destination?: string | undefined
    /** With `identity` the access token of the deposit is an ID token. */
    readonly custody?: TokenCustody | undefined
    readonly dialect?: TokenDialect | undefined
  },
  now: DateTime.Utc
): Deposit => ({
  grant: {
    ...endpoints,
    ...(destination === undefined ? {} : { destination }),
    ...(payload.revocationEndpoint === undefined ? {} : { revocationEndpoint: payload.revocationEndpoint }),
    clientId: payload.clientId,
    authMethod: payload.authMethod ?? (payload.clientSecret === undefined ? "none" : "client_secret_basic"),
    ...(payload.resource === undefined || endpoints.resource !== undefined ? {} : { resource: payload.resource }),
    redemptionPolicy: payload.redemptionPolicy ?? "retry-once",
    ...(custody === "identity" ? { keeps: "id_token" } : {}),
    ...(dialect === undefined ? {} : { dialect })
  },
  clientSecret: payload.clientSecret,
  ...(payload.grantedAt === undefined ? {} : { grantedAt: payload.grantedAt }),
  credentials: {
    refreshToken: payload.refreshToken,
    tokenType: payload.tokenType ?? "Bearer",
    ...(payload.proofKey === undefined ? {} : { proofKey: payload.proofKey }),
    scopes: payload.scopes,
    ...(payload.refreshExpiresAt === undefined ? {} : { refreshExpiresAt: payload.refreshExpiresAt }),
    ...(payload.account === undefined ? {} : { account: accountOf(payload.account) }),
    ...(payload.accessToken === undefined || payload.verify === true
      ? { accessToken: Redacted.make(""), issuedAt: now, expiresAt: notYet }
      : { accessToken: payload.accessToken, issuedAt: now, expiresAt: payload.expiresAt })
  }
})
