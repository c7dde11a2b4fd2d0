import type { RedemptionError } from "@valetkey/domain/AuthorizationServer"
import type { Grant } from "@valetkey/domain/Connection"
import type { Credentials } from "@valetkey/domain/Credentials"
import type { Effect, Redacted } from "effect"
import { clientCredentialsGrantRequest, processClientCredentialsResponse } from "oauth4webapi"
import type { Outbound } from "./internal/outbound.ts"
import { redeem } from "./internal/redemption.ts"
import { parametersOf } from "./internal/unattended.ts"

/**
 * Asks for an access token by the client's own authority, with the scopes and the resource of the grant.
 *
 * @see RFC 6749 §4.4, RFC 8707 §2.2
 */
export const obtain = (
  outbound: Outbound,
  grant: Grant,
  clientSecret: Redacted.Redacted | undefined
): Effect.Effect<Credentials, RedemptionError> =>
  redeem(outbound, grant, clientSecret, {
    request: async (as, client, auth, options) =>
      clientCredentialsGrantRequest(as, client, auth, parametersOf(grant), options),
    process: (as, client, response) => processClientCredentialsResponse(as, client, response)
  })
