import {
  type AuthorizationServerMetadata,
  DiscoveryError,
  type RegisteredClient
} from "@valetkey/domain/AuthorizationServer"
import type { TransportKind } from "@valetkey/domain/Flow"
import { TokenEndpointAuthMethod } from "@valetkey/domain/Server"
import { publicKeyOf } from "@valetkey/domain/SigningKey"
import { DateTime, Effect, Redacted, Schema } from "effect"
import {
  type AuthorizationServer,
  dynamicClientRegistrationRequest,
  processDynamicClientRegistrationResponse
} from "oauth4webapi"
import { ask, failureOf } from "./internal/asking.ts"
import type { Outbound } from "./internal/outbound.ts"
import { algorithmFor } from "./SignedResponse.ts"
import { read } from "./TokenResponse.ts"

/**
 * Registers a client for one redirect URI, or for the device grant when there is none.
 *
 * @see RFC 7591 §3, JARM §3
 */
export const register = (
  outbound: Outbound,
  metadata: AuthorizationServerMetadata,
  input: {
    readonly redirectUri: string | undefined
    readonly transport: TransportKind
    readonly scopes: ReadonlyArray<string>
    readonly signingKey?: Redacted.Redacted | undefined
  }
): Effect.Effect<RegisteredClient, DiscoveryError> =>
  Effect.gen(function*() {
    const endpoint = metadata.registrationEndpoint
    const publicKey = input.signingKey && publicKeyOf(input.signingKey)
    const authMethod = chooseAuthMethod(metadata, input.transport, publicKey !== undefined)
    if (endpoint === undefined || authMethod === undefined) {
      return yield* new DiscoveryError({ code: "registration_unsupported" })
    }
    const as: AuthorizationServer = { issuer: metadata.issuer, registration_endpoint: endpoint }
    // Registered wherever it is offered, so that the client stays the right one when signed responses are asked for later.
    const signedWith = algorithmFor(metadata.signedResponses)
    const wanted = {
      client_name: "Valetkey",
      application_type: applicationType(input),
      ...(input.redirectUri === undefined
        ? { redirect_uris: [], grant_types: [deviceGrant, "refresh_token"], response_types: [] }
        : {
          redirect_uris: [input.redirectUri],
          grant_types: ["authorization_code", "refresh_token"],
          response_types: ["code"],
          ...(signedWith === undefined ? {} : { authorization_signed_response_alg: signedWith })
        }),
      token_endpoint_auth_method: authMethod,
      ...(authMethod === "private_key_jwt" ? { ...keyed, jwks: { keys: [publicKey!] } } : {}),
      ...(input.scopes.length === 0 ? {} : { scope: input.scopes.join(" ") })
    }
    const client = yield* ask(outbound, { endpoint, origin: metadata.resource, refused }, async (options) =>
      processDynamicClientRegistrationResponse(
        await accepted(await dynamicClientRegistrationRequest(as, wanted, options))
      ))
    const granted = yield* Effect.mapError(
      Schema.decodeUnknownEffect(TokenEndpointAuthMethod)(client.token_endpoint_auth_method ?? authMethod),
      () =>
        refused
    )
    const secret = typeof client.client_secret === "string" ? Redacted.make(client.client_secret) : undefined
    const redirectUris: unknown = client.redirect_uris ?? [input.redirectUri]
    if (
      input.redirectUri !== undefined &&
      (!Array.isArray(redirectUris) || !redirectUris.includes(input.redirectUri))
    ) {
      return yield* refused
    }
    // A server knows no key but the one that it was told.
    if (granted === "private_key_jwt") {
      return authMethod === "private_key_jwt"
        ? { clientId: client.client_id, authMethod: granted, clientSecret: input.signingKey }
        : yield* refused
    }
    if (granted === "none") {
      return { clientId: client.client_id, authMethod: "none" }
    }
    // A server that gives no secret made a public client, whatever it calls it.
    if (secret === undefined) {
      return { clientId: client.client_id, authMethod: "none" }
    }
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

/** A gateway that is tried out on a person's machine has no https, and a web client may have nothing else (OpenID Connect Dynamic Client Registration 1.0 §2). */
const applicationType = (input: { readonly redirectUri: string | undefined; readonly transport: TransportKind }) =>
  input.transport === "gateway" && input.redirectUri?.startsWith("https:") === true ? "web" : "native"

/** RFC 8628 §3.4. */
const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

/** A program on a person's machine keeps no secret; a server does. */
const preferences: { readonly [Kind in "native" | "web"]: ReadonlyArray<TokenEndpointAuthMethod> } = {
  native: ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"],
  web: ["client_secret_basic", "client_secret_post", "none", "private_key_jwt"]
}

const chooseAuthMethod = (
  { authAlgorithms, authMethods }: AuthorizationServerMetadata,
  transport: TransportKind,
  hasKey: boolean
): TokenEndpointAuthMethod | undefined =>
  preferences[transport === "gateway" ? "web" : "native"].find((method) =>
    authMethods.includes(method) &&
    (method !== "private_key_jwt" ||
      hasKey && authAlgorithms?.includes(keyed.token_endpoint_auth_signing_alg) !== false)
  )

/** What the keys that are made here sign with (RFC 7591 §2, OpenID Connect Dynamic Client Registration 1.0 §2). */
const keyed = { token_endpoint_auth_signing_alg: "ES256" }

/** The answer as RFC 7591 §3.2.1 wants it: some servers say 200, and some leave out that a secret does not expire. */
const accepted = async (response: Response): Promise<Response> => {
  const { members, status } = await read(response)
  if (status !== 200 && status !== 201) {
    throw failureOf(status, refused)
  }
  const present = Object.fromEntries(Object.entries(members ?? {}).filter(([, value]) => value !== null))
  return Response.json({ client_secret_expires_at: 0, ...present }, { status: 201 })
}

const refused = new DiscoveryError({ code: "registration_refused" })
