import type { Authority, RedemptionError } from "@valetkey/domain/AuthorizationServer"
import type { Grant } from "@valetkey/domain/Connection"
import { Clock, Effect, Redacted } from "effect"
import { genericTokenEndpointRequest } from "oauth4webapi"
import type { Outbound } from "./internal/outbound.ts"
import { post, refusedBy } from "./internal/redemption.ts"
import { isFor, readToken } from "./internal/signedToken.ts"
import { misfit, parametersOf } from "./internal/unattended.ts"
import { audiencesOf } from "./JwtBearer.ts"
import { errorOf } from "./TokenResponse.ts"

/** RFC 8693 §2.1. */
const grantType = "urn:ietf:params:oauth:grant-type:token-exchange"
const idTokenType = "urn:ietf:params:oauth:token-type:id_token"
const assertionType = "urn:ietf:params:oauth:token-type:id-jag"

/**
 * Has the identity provider turn the ID token that it issued into an assertion for the authorization server of a grant. The
 * ID token goes to the token endpoint that it came from; the assertion is used only if it is by that issuer, for that
 * authorization server, that client and that resource, and not over.
 *
 * @see RFC 8693 §2, Identity Assertion Authorization Grant (draft-ietf-oauth-identity-assertion-authz-grant) §4
 */
export const exchange = (
  outbound: Outbound,
  grant: Grant,
  identity: Extract<Authority, { readonly _tag: "Identity" }>
): Effect.Effect<Redacted.Redacted, RedemptionError> =>
  Effect.gen(function*() {
    const { answer } = yield* post(outbound, identity.grant, identity.clientSecret, async (as, client, auth, options) =>
      genericTokenEndpointRequest(as, client, auth, grantType, {
        ...parametersOf(grant),
        requested_token_type: assertionType,
        audience: grant.issuer,
        subject_token: Redacted.value(identity.idToken),
        subject_token_type: idTokenType
      }, options))
    if (answer.status >= 300 || errorOf(answer) !== undefined) {
      return yield* refusedBy(answer)
    }
    const { access_token: assertion, issued_token_type: type } = answer.members ?? {}
    const flaw = type !== assertionType
      ? "is of another type"
      : flawOf(assertion, grant, identity.grant, yield* Clock.currentTimeMillis)
    return typeof assertion !== "string" || flaw !== undefined
      ? yield* misfit("invalid_grant", `What the identity provider issued ${flaw}; it was not used`)
      : Redacted.make(assertion)
  })

/** What is wrong with an assertion for a grant; its signature is for the authorization server to look at. */
const flawOf = (assertion: unknown, grant: Grant, identity: Grant, now: number): string | undefined => {
  const token = readToken(assertion)
  if (token === undefined) return "is no signed token"
  const { claims, header } = token
  if (header["typ"] !== "oauth-id-jag+jwt") return "has another media type"
  if (claims["iss"] !== identity.issuer) return "names another issuer"
  if (!isFor(token, audiencesOf(grant))) return "names another audience"
  if (claims["client_id"] !== grant.clientId) return "names another client"
  const { exp, resource } = claims
  if (resource !== undefined && !(Array.isArray(resource) ? resource : [resource]).includes(grant.resource)) {
    return "names another resource"
  }
  return typeof exp === "number" && exp * 1000 > now ? undefined : "is over"
}
