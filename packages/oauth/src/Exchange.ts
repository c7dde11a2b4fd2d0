import type { CallbackAccepted } from "@valetkey/domain/Authorization"
import type { RedemptionError } from "@valetkey/domain/AuthorizationServer"
import type { Credentials } from "@valetkey/domain/Credentials"
import { type Effect, Redacted } from "effect"
import {
  authorizationCodeGrantRequest,
  getValidatedIdTokenClaims,
  processAuthorizationCodeResponse,
  skipStateCheck,
  validateAuthResponse
} from "oauth4webapi"
import { isAccountId } from "./IdToken.ts"
import type { Outbound } from "./internal/outbound.ts"
import { redeem } from "./internal/redemption.ts"

/**
 * Posts an authorization code, once, to the token endpoint that was recorded at start. An ID token that was asked for is
 * checked but for its signature; without one nobody is named.
 *
 * @see RFC 6749 §4.1.3, RFC 7636 §4.5, RFC 8707 §2.2, OpenID Connect Core 1.0 §3.1.3.7
 */
export const exchange = (
  outbound: Outbound,
  accepted: CallbackAccepted,
  secrets: {
    readonly codeVerifier: Redacted.Redacted
    readonly clientSecret: Redacted.Redacted | undefined
    readonly nonce?: Redacted.Redacted | undefined
    readonly proofKey?: Redacted.Redacted | undefined
  }
): Effect.Effect<Credentials, RedemptionError> => {
  const { grant, snapshot } = accepted.flow.authorization
  const { nonce } = secrets
  return redeem(outbound, grant, secrets.clientSecret, {
    request: async (as, client, auth, options) => {
      const parameters = new URLSearchParams({ code: Redacted.value(accepted.code) })
      return authorizationCodeGrantRequest(
        as,
        client,
        auth,
        // State, binding, context and issuer were checked by the claim and by `CallbackAccepted.accept`.
        validateAuthResponse(as, client, parameters, skipStateCheck),
        snapshot.redirectUri,
        Redacted.value(secrets.codeVerifier),
        options
      )
    },
    proofKey: secrets.proofKey,
    idToken: nonce === undefined ? undefined : "checked",
    process: async (as, client, response, hasIdToken) => {
      const answer = await processAuthorizationCodeResponse(
        as,
        client,
        response,
        nonce !== undefined && hasIdToken ? { expectedNonce: Redacted.value(nonce) } : {}
      )
      if (hasIdToken && !isAccountId(getValidatedIdTokenClaims(answer)!.sub)) throw new Error("sub")
      return answer
    }
  })
}
