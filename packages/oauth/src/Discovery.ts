import { type AuthorizationServerMetadata, DiscoveryError } from "@valetkey/domain/AuthorizationServer"
import type { Quirks, Server } from "@valetkey/domain/Server"
import { Effect } from "effect"
import { isAcceptable } from "./internal/endpoints.ts"
import type { Outbound } from "./internal/outbound.ts"
import * as IssuerMetadata from "./IssuerMetadata.ts"
import * as ProtectedResource from "./ProtectedResource.ts"
import * as SignedResponse from "./SignedResponse.ts"

/**
 * Finds out how to get a token for a server. Configured endpoints skip discovery; a configured issuer is the only one
 * that is accepted; a resource without metadata is served by its own origin, as before RFC 9728.
 *
 * @see RFC 9728 §3, RFC 8414 §3, OpenID Connect Discovery 1.0 §4
 */
export const discover = (
  outbound: Outbound,
  server: Server
): Effect.Effect<AuthorizationServerMetadata, DiscoveryError> =>
  Effect.gen(function*() {
    const { endpoints, issuer, quirks, resource } = server
    if (endpoints !== undefined) {
      return yield* checkEndpoints({
        issuer: issuer ?? new URL(endpoints.token).origin,
        ...(endpoints.authorization === undefined ? {} : { authorizationEndpoint: endpoints.authorization }),
        tokenEndpoint: endpoints.token,
        ...(endpoints.revocation === undefined ? {} : { revocationEndpoint: endpoints.revocation }),
        ...(endpoints.introspection === undefined ? {} : { introspectionEndpoint: endpoints.introspection }),
        ...(endpoints.deviceAuthorization === undefined
          ? {}
          : { deviceAuthorizationEndpoint: endpoints.deviceAuthorization }),
        issRequired: false,
        authMethods: defaultAuthMethods,
        resource
      }, resource)
    }

    // An issuer that is asked as its own resource speaks for itself; its host may describe resources that are others.
    const protectedResource = resource === issuer
      ? { resource, authorizationServers: [], scopes: undefined, bindsTokens: false, isProtected: false }
      : yield* ProtectedResource.find(outbound, resource)
    const named = yield* chooseIssuer(protectedResource.authorizationServers, issuer)
    const { origin } = new URL(resource)
    const found = yield* IssuerMetadata.find(outbound, named === undefined ? [origin, `${origin}/`] : [named], resource)
    if (found === undefined) {
      return named === undefined && protectedResource.isProtected
        ? yield* checkEndpoints(customary(origin, protectedResource), resource)
        : yield* new DiscoveryError({ code: "metadata_invalid" })
    }
    const missing = server.grant === undefined ? missingForPeople(found, quirks) : undefined
    if (missing !== undefined) return yield* new DiscoveryError({ code: missing })
    const signedResponses = SignedResponse.offeredBy(found, protectedResource.resource)
    const scopes = withOfflineAccess(protectedResource.scopes, found.scopes_supported)
    return yield* checkEndpoints({
      issuer: found.issuer,
      ...(found.authorization_endpoint === undefined ? {} : { authorizationEndpoint: found.authorization_endpoint }),
      tokenEndpoint: found.token_endpoint,
      ...(found.revocation_endpoint === undefined ? {} : { revocationEndpoint: found.revocation_endpoint }),
      // Where nobody is asked, a place that would be refused is no reason to refuse the server.
      ...(quirks.introspectExpiry !== true || found.introspection_endpoint === undefined
        ? {}
        : { introspectionEndpoint: found.introspection_endpoint }),
      ...(found.registration_endpoint === undefined ? {} : { registrationEndpoint: found.registration_endpoint }),
      ...(found.client_id_metadata_document_supported === true ? { readsClientMetadata: true } : {}),
      ...(found.device_authorization_endpoint === undefined
        ? {}
        : { deviceAuthorizationEndpoint: found.device_authorization_endpoint }),
      ...(found.pushed_authorization_request_endpoint === undefined
        ? {}
        : { pushedAuthorizationEndpoint: found.pushed_authorization_request_endpoint }),
      ...(found.require_pushed_authorization_requests === true ? { requiresPush: true } : {}),
      issRequired: found.authorization_response_iss_parameter_supported === true,
      ...(signedResponses === undefined ? {} : { signedResponses }),
      authMethods: found.token_endpoint_auth_methods_supported ?? defaultAuthMethods,
      ...(found.token_endpoint_auth_signing_alg_values_supported === undefined
        ? {}
        : { authAlgorithms: found.token_endpoint_auth_signing_alg_values_supported }),
      ...(scopes === undefined ? {} : { scopes }),
      ...(protectedResource.bindsTokens ? { bindsTokens: true } : {}),
      resource: protectedResource.resource
    }, found.issuer)
  })

/** What keeps a server from sending anybody back with a code; tokens that nobody consents to need none of it. */
const missingForPeople = (found: IssuerMetadata.IssuerMetadata, quirks: Quirks): DiscoveryError["code"] | undefined => {
  if (found.authorization_endpoint === undefined) return "metadata_invalid"
  // RFC 9126 §5: what is required has a place.
  if (
    found.require_pushed_authorization_requests === true && found.pushed_authorization_request_endpoint === undefined
  ) {
    return "metadata_invalid"
  }
  // Methods that are named without S256 are a refusal; a quirk can only fill in for silence.
  const methods = found.code_challenge_methods_supported
  return (methods === undefined ? quirks.assumePkceSupport === true : methods.includes("S256"))
    ? undefined
    : "pkce_unsupported"
}

/**
 * Where a resource that wants a token and says nothing of where to get one has its endpoints: on its own origin, by the
 * custom of the first revision of the MCP authorization specification (2025-03-26, "Fallbacks for Servers without Metadata
 * Discovery"), which requires PKCE of every client.
 */
const customary = (
  origin: string,
  { resource, scopes }: ProtectedResource.ProtectedResource
): AuthorizationServerMetadata => ({
  issuer: origin,
  authorizationEndpoint: `${origin}/authorize`,
  tokenEndpoint: `${origin}/token`,
  registrationEndpoint: `${origin}/register`,
  issRequired: false,
  authMethods: ["none", ...defaultAuthMethods, "client_secret_post"],
  ...(scopes === undefined ? {} : { scopes }),
  resource
})

/** RFC 8414 §2: what an omitted `token_endpoint_auth_methods_supported` means. */
const defaultAuthMethods: ReadonlyArray<string> = ["client_secret_basic"]

/** A configured issuer must be among those that the resource names; otherwise the first that it names is meant. */
const chooseIssuer = (
  named: ReadonlyArray<string>,
  configured: string | undefined
): Effect.Effect<string | undefined, DiscoveryError> => {
  if (configured === undefined) return Effect.succeed(named[0])
  return named.length === 0 || named.includes(configured)
    ? Effect.succeed(configured)
    : Effect.fail(new DiscoveryError({ code: "issuer_mismatch" }))
}

/** A refresh token needs this scope at some servers; it is asked for only where it exists. */
const withOfflineAccess = (
  scopes: ReadonlyArray<string> | undefined,
  supported: ReadonlyArray<string> | undefined
): ReadonlyArray<string> | undefined =>
  scopes === undefined || scopes.includes("offline_access") || supported?.includes("offline_access") !== true
    ? scopes
    : [...scopes, "offline_access"]

const checkEndpoints = (
  metadata: AuthorizationServerMetadata,
  voucher: string
): Effect.Effect<AuthorizationServerMetadata, DiscoveryError> => {
  const named = [
    metadata.authorizationEndpoint,
    metadata.tokenEndpoint,
    metadata.revocationEndpoint,
    metadata.introspectionEndpoint,
    metadata.registrationEndpoint,
    metadata.deviceAuthorizationEndpoint,
    metadata.pushedAuthorizationEndpoint
  ]
  return named.every((endpoint) => endpoint === undefined || isAcceptable(endpoint, metadata.resource, voucher))
    ? Effect.succeed(metadata)
    : Effect.fail(new DiscoveryError({ code: "egress_refused" }))
}
