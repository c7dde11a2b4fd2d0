import type { RedemptionError } from "@valetkey/domain/AuthorizationServer"
import type { Grant } from "@valetkey/domain/Connection"
import type { Credentials } from "@valetkey/domain/Credentials"
import { Effect, Redacted } from "effect"
import { genericTokenEndpointRequest, processGenericTokenEndpointResponse } from "oauth4webapi"
import type { Outbound } from "./internal/outbound.ts"
import { redeem } from "./internal/redemption.ts"
import { isFor, readToken } from "./internal/signedToken.ts"
import { misfit, parametersOf } from "./internal/unattended.ts"

/** RFC 7523 §2.1. */
const grantType = "urn:ietf:params:oauth:grant-type:jwt-bearer"

/**
 * Redeems an assertion about somebody for an access token. One that names another audience than this authorization server
 * does not leave: whoever got it could show it where it is meant for.
 *
 * @see RFC 7523 §2.1, §3
 */
export const obtain = (
  outbound: Outbound,
  grant: Grant,
  clientSecret: Redacted.Redacted | undefined,
  assertion: Redacted.Redacted
): Effect.Effect<Credentials, RedemptionError> => {
  const token = readToken(Redacted.value(assertion))
  if (token === undefined) {
    return Effect.fail(misfit("invalid_grant", "The assertion is no signed token; nothing was sent"))
  }
  if (!isFor(token, audiencesOf(grant))) {
    return Effect.fail(misfit("invalid_target", "The assertion is for another authorization server; nothing was sent"))
  }
  return redeem(outbound, grant, clientSecret, {
    request: async (as, client, auth, options) =>
      genericTokenEndpointRequest(
        as,
        client,
        auth,
        grantType,
        { ...parametersOf(grant), assertion: Redacted.value(assertion) },
        options
      ),
    process: (as, client, response) => processGenericTokenEndpointResponse(as, client, response)
  })
}

/** What an assertion may call the authorization server: its issuer, as it is or with a slash, or its token endpoint. */
export const audiencesOf = ({ issuer, tokenEndpoint }: Grant): ReadonlyArray<string> => [
  issuer,
  issuer.endsWith("/") ? issuer.slice(0, -1) : `${issuer}/`,
  tokenEndpoint
]
