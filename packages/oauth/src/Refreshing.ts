import type { RedemptionError } from "@valetkey/domain/AuthorizationServer"
import type { Grant } from "@valetkey/domain/Connection"
import type { Credentials } from "@valetkey/domain/Credentials"
import { type Effect, Redacted } from "effect"
import { processRefreshTokenResponse, refreshTokenGrantRequest } from "oauth4webapi"
import type { Outbound } from "./internal/outbound.ts"
import { redeem } from "./internal/redemption.ts"
import { salvage } from "./TokenResponse.ts"

/**
 * Posts a refresh token, once. The scope is left out, so that the grant keeps all it has; the resource is repeated. Whom an
 * ID token in the answer names is told, for whoever knows whose the grant is.
 *
 * @see RFC 6749 §6, RFC 8707 §2.2, OpenID Connect Core 1.0 §12.2
 */
export const refresh = (
  outbound: Outbound,
  grant: Grant,
  secrets: {
    readonly refreshToken: Redacted.Redacted
    readonly clientSecret: Redacted.Redacted | undefined
    readonly proofKey?: Redacted.Redacted | undefined
  }
): Effect.Effect<Credentials, RedemptionError> =>
  redeem(outbound, grant, secrets.clientSecret, {
    request: async (as, client, auth, options) =>
      refreshTokenGrantRequest(as, client, auth, Redacted.value(secrets.refreshToken), options),
    proofKey: secrets.proofKey,
    idToken: "claimed",
    process: (as, client, response) => processRefreshTokenResponse(as, client, response),
    salvage: (answer, issuedAt) => salvage(answer, secrets.refreshToken, issuedAt, secrets.proofKey !== undefined)
  })
