import type { RedemptionError } from "@valetkey/domain/AuthorizationServer"
import type { Grant } from "@valetkey/domain/Connection"
import type { Credentials } from "@valetkey/domain/Credentials"
import { Effect, type Redacted } from "effect"
import { clientCredentialsGrantRequest, processClientCredentialsResponse } from "oauth4webapi"
import type { Outbound } from "./internal/outbound.ts"
import { redeem } from "./internal/redemption.ts"

/**
 * Asks for an access token by the client's own authority, with the scopes and the resource of the grant. A refresh token in
 * the answer is dropped: the standard has none here, and asking again costs nobody a consent.
 *
 * @see RFC 6749 §4.4, RFC 8707 §2.2
 */
export const obtain = (
  outbound: Outbound,
  grant: Grant,
  secrets: { readonly clientSecret: Redacted.Redacted | undefined }
): Effect.Effect<Credentials, RedemptionError> =>
  Effect.map(
    redeem(outbound, grant, secrets.clientSecret, {
      request: async (as, client, auth, options) =>
        clientCredentialsGrantRequest(as, client, auth, parametersOf(grant), options),
      process: (as, client, response) => processClientCredentialsResponse(as, client, response)
    }),
    ({ refreshToken: _, ...credentials }) => credentials
  )

const parametersOf = ({ resource, unattended }: Grant): Record<string, string> => ({
  ...(unattended === undefined || unattended.scopes.length === 0 ? {} : { scope: unattended.scopes.join(" ") }),
  ...(resource === undefined ? {} : { resource })
})
