import {
  type AuthorizationServerMetadata,
  DiscoveryError,
  type RegisteredClient
} from "@valetkey/domain/AuthorizationServer"
import type { TransportKind } from "@valetkey/domain/Flow"
import { TokenEndpointAuthMethod } from "@valetkey/domain/Server"
import { findEgressError } from "@valetkey/egress/EgressFetch"
import { DateTime, Effect, Redacted, Schema } from "effect"
import {
  type AuthorizationServer,
  dynamicClientRegistrationRequest,
  processDynamicClientRegistrationResponse
} from "oauth4webapi"
import { type Outbound, requestOptions } from "./internal/outbound.ts"
import { read } from "./TokenResponse.ts"

/**
 * Registers a client for one redirect URI, or for the device grant when there is none.
 *
 * @see RFC 7591 §3
 */
export const register = (
  outbound: Outbound,
  metadata: AuthorizationServerMetadata,
  input: {
    readonly redirectUri: string | undefined
    readonly transport: TransportKind
    readonly scopes: ReadonlyArray<string>
  }
): Effect.Effect<RegisteredClient, DiscoveryError> =>
  Effect.gen(function*() {
    const endpoint = metadata.registrationEndpoint
    const authMethod = chooseAuthMethod(metadata.authMethods, input.transport)
    if (endpoint === undefined || authMethod === undefined) {
      return yield* new DiscoveryError({ code: "registration_unsupported" })
    }
    const as: AuthorizationServer = { issuer: metadata.issuer, registration_endpoint: endpoint }
    const response = yield* Effect.tryPromise({
      try: async (signal) =>
        accepted(
          await dynamicClientRegistrationRequest(
            as,
            {
              client_name: "Valetkey",
              application_type: input.transport === "gateway" ? "web" : "native",
              ...(input.redirectUri === undefined
                ? { redirect_uris: [], grant_types: [deviceGrant, "refresh_token"], response_types: [] }
                : {
                  redirect_uris: [input.redirectUri],
                  grant_types: ["authorization_code", "refresh_token"],
                  response_types: ["code"]
                }),
              token_endpoint_auth_method: authMethod,
              ...(input.scopes.length === 0 ? {} : { scope: input.scopes.join(" ") })
            },
            requestOptions({
              egress: outbound.egress,
              endpoint,
              origin: metadata.resource,
              deadline: outbound.discovery,
              signal
            })
          )
        ),
      catch: unregistered
    })
    const client = yield* Effect.tryPromise({
      try: () => processDynamicClientRegistrationResponse(response),
      // What oauth4webapi throws holds the body, and with it the secret.
      catch: () => refused
    })
    const granted = yield* Effect.mapError(
      Schema.decodeUnknownEffect(TokenEndpointAuthMethod)(client.token_endpoint_auth_method ?? authMethod),
      () => refused
    )
    const secret = typeof client.client_secret === "string" ? Redacted.make(client.client_secret) : undefined
    const redirectUris: unknown = client.redirect_uris ?? [input.redirectUri]
    if (
      input.redirectUri !== undefined &&
      (!Array.isArray(redirectUris) || !redirectUris.includes(input.redirectUri))
    ) return yield* refused
    if (granted === "none") return { clientId: client.client_id, authMethod: "none" }
    // A server that gives no secret made a public client, whatever it calls it.
    if (secret === undefined) return { clientId: client.client_id, authMethod: "none" }
    const expiresAt = Number(client.client_secret_expires_at)
    return {
      clientId: client.client_id,
      authMethod: granted,
      clientSecret: secret,
      clientSecretExpiresAt: expiresAt > 0
        ? DateTime.makeUnsafe(Math.min(expiresAt, 253_402_300_799) * 1000)
        : undefined
    }
  })

/** RFC 8628 §3.4. */
const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

/** A program on a person's machine keeps no secret; a server does. */
const preferences: { readonly [Kind in "native" | "web"]: ReadonlyArray<TokenEndpointAuthMethod> } = {
  native: ["none", "client_secret_basic", "client_secret_post"],
  web: ["client_secret_basic", "client_secret_post", "none"]
}

const chooseAuthMethod = (
  offered: ReadonlyArray<string>,
  transport: TransportKind
): TokenEndpointAuthMethod | undefined =>
  preferences[transport === "gateway" ? "web" : "native"].find((method) => offered.includes(method))

/** The answer as RFC 7591 §3.2.1 wants it: some servers say 200, and some leave out that a secret does not expire. */
const accepted = async (response: Response): Promise<Response> => {
  const { members, status } = await read(response)
  if (status !== 200 && status !== 201) {
    throw status === 429 || status >= 500 ? new DiscoveryError({ code: "authorization_server_unreachable" }) : refused
  }
  const present = Object.fromEntries(Object.entries(members ?? {}).filter(([, value]) => value !== null))
  return Response.json({ client_secret_expires_at: 0, ...present }, { status: 201 })
}

const unregistered = (thrown: unknown): DiscoveryError => {
  if (thrown instanceof DiscoveryError) return thrown
  const cause = findEgressError(thrown)
  if (cause === undefined) return refused
  return new DiscoveryError({
    code: cause.reason._tag === "Refused" ? "egress_refused" : "authorization_server_unreachable",
    cause
  })
}

const refused = new DiscoveryError({ code: "registration_refused" })
