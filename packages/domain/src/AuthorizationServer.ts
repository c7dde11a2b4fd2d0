import { Context, type DateTime, type Effect, type Redacted, Schema } from "effect"
import type { CallbackAccepted } from "./Authorization.ts"
import type { Grant } from "./Connection.ts"
import type { Credentials } from "./Credentials.ts"
import type { DeviceAnswer, DeviceAuthorization, DeviceAuthorizationRequest } from "./DeviceAuthorization.ts"
import type { TransportKind } from "./Flow.ts"
import type { ClaimedFlow } from "./FlowStore.ts"
import { HttpUrl, type Server, type TokenEndpointAuthMethod } from "./Server.ts"
import { SignedResponses } from "./SignedResponse.ts"

/** Schema for what is needed of an authorization server, from validated metadata (RFC 8414) or from static endpoints. */
export const AuthorizationServerMetadata = Schema.Struct({
  issuer: HttpUrl,
  /** Absent where the server has no use for people (RFC 8414 §2). */
  authorizationEndpoint: Schema.optionalKey(HttpUrl),
  tokenEndpoint: HttpUrl,
  revocationEndpoint: Schema.optionalKey(HttpUrl),
  /** RFC 7662 §2. */
  introspectionEndpoint: Schema.optionalKey(HttpUrl),
  registrationEndpoint: Schema.optionalKey(HttpUrl),
  /** Whether a client id may be the URL of a client id metadata document (OAuth Client ID Metadata Document, §5). */
  readsClientMetadata: Schema.optionalKey(Schema.Boolean),
  /** RFC 8628 §4. */
  deviceAuthorizationEndpoint: Schema.optionalKey(HttpUrl),
  /** Where authorization requests are pushed to, and whether no others are taken (RFC 9126 §5). */
  pushedAuthorizationEndpoint: Schema.optionalKey(HttpUrl),
  requiresPush: Schema.optionalKey(Schema.Boolean),
  /** RFC 9207 §3. */
  issRequired: Schema.Boolean,
  /** Absent where no response comes as a signed token (JARM §4). */
  signedResponses: Schema.optionalKey(SignedResponses),
  /** RFC 8414 §2; what a registration may ask for. */
  authMethods: Schema.Array(Schema.String),
  /** What a client may sign with to prove itself (RFC 8414 §2, `token_endpoint_auth_signing_alg_values_supported`). */
  authAlgorithms: Schema.optionalKey(Schema.Array(Schema.String)),
  /** Scopes to request when neither server nor caller names any (RFC 9728 `scopes_supported`, or the 401 challenge's `scope`). */
  scopes: Schema.optionalKey(Schema.Array(Schema.String)),
  /** Whether the resource takes tokens with proofs of possession alone (RFC 9728 §2, RFC 9449 §7.1). */
  bindsTokens: Schema.optionalKey(Schema.Boolean),
  /** The resource identifier to send (RFC 8707), as the protected resource metadata spells it. */
  resource: HttpUrl
})
export type AuthorizationServerMetadata = typeof AuthorizationServerMetadata.Type

/** Error of finding out how to talk to a server, or of registering there. Nothing was changed. */
export class DiscoveryError extends Schema.TaggedError<DiscoveryError>("valetkey/DiscoveryError")("DiscoveryError", {
  code: Schema.Literals([
    "resource_unreachable",
    "authorization_server_unreachable",
    "metadata_invalid",
    "issuer_mismatch",
    "pkce_unsupported",
    "signed_response_unsupported",
    "egress_refused",
    "authorization_server_moved",
    "registration_unsupported",
    "registration_refused",
    "client_secret_missing",
    "device_unsupported",
    "device_refused",
    "authorization_request_refused",
    "client_refused"
  ]),
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message() {
    switch (this.code) {
      case "resource_unreachable":
        return "The server's resource URL cannot be reached; check the URL and that the server is up"
      case "authorization_server_unreachable":
        return "The authorization server cannot be reached; try again later"
      case "metadata_invalid":
        return "The authorization server's metadata is missing or malformed; give the issuer or the endpoints in the server's configuration"
      case "issuer_mismatch":
        return "The metadata names another issuer than the one it was asked for; it is not trusted (RFC 8414 section 3.3); check the server's URL and issuer"
      case "pkce_unsupported":
        return "The authorization server does not advertise PKCE with S256; set assumePkceSupport only if it is known to support it"
      case "signed_response_unsupported":
        return "Signed authorization responses (JARM) are asked for, and the authorization server offers none that can be verified: it needs jwks_uri, response_mode query.jwt or jwt and an asymmetric algorithm in its metadata; ask its operator, or set the quirk signedResponses to false for plain ones"
      case "egress_refused":
        return "The server leads to an address that is not allowed; allow it with VALETKEY_ALLOW_EGRESS if it is intended"
      case "authorization_server_moved":
        return "The authorization server, or an endpoint of it, is on another origin than at the last consent, so nothing was sent there; if its operator confirms the move, disconnect and connect again, or give the issuer or the endpoints in the server's configuration"
      case "registration_unsupported":
        return "The authorization server offers no dynamic registration; register a client there and put its id into the server's configuration"
      case "registration_refused":
        return "The authorization server refused to register a client; register one by hand and put its id into the server's configuration"
      case "client_secret_missing":
        return "The server's client authenticates with a secret or a key and none is stored; describe the server again with the secret, or with authMethod none if the client is public"
      case "device_unsupported":
        return "The authorization server offers no device authorization (RFC 8628); use another transport, or give the endpoint in the server's configuration if it has one"
      case "device_refused":
        return "The authorization server refused the device authorization or answered it with something else; check that the client may use the device grant, and the scopes, or use another transport"
      case "authorization_request_refused":
        return "The authorization server refused the authorization request that was pushed to it, or answered it with something else; check the scopes, the redirect URI of the client and authorizationParameters"
      case "client_refused":
        return "The authorization server does not know the client, or not as it proves itself; check the client in the server's description, or start again, which registers a new one"
    }
  }
}

/** Error of verifying a signed authorization response. Nothing of it may be used. */
export class ResponseError extends Schema.TaggedError<ResponseError>("valetkey/ResponseError")("ResponseError", {
  code: Schema.Literals(["response_untrusted", "authorization_server_unavailable"]),
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message() {
    return this.code === "response_untrusted"
      ? "The signed authorization response fails a check"
      : "The keys of the authorization server cannot be had"
  }
}

/** Schema for why a token endpoint gave no credentials, by what may be done next. */
export const RedemptionFailure = Schema.TaggedUnion({
  /** The code or refresh token is refused for good (`invalid_grant` and its provider spellings). */
  Terminal: { error: Schema.String },
  /** The client or the request is refused; a person must mend the configuration (`invalid_client`, `invalid_scope`, …). */
  Configuration: { error: Schema.String },
  /**
   * Nothing was redeemed: not sent, or answered with 408, 425, 429, 5xx or a refusal in front of the server. `unclear` where
   * an answer names no error that is known: it may as well refuse what an earlier request has used up, and after some in a
   * row it is a refusal for good.
   */
  Transient: { retryAfter: Schema.optionalKey(Schema.Duration), unclear: Schema.optionalKey(Schema.Literal(true)) },
  /** The request was written and no usable answer came: timeout, reset, short or unreadable body. */
  UnknownOutcome: {},
  /** The code was redeemed and the answer's ID token fails its checks: nothing in the answer is used (OpenID Connect Core 1.0 §3.1.3.7). */
  UntrustedIdToken: {}
})
export type RedemptionFailure = typeof RedemptionFailure.Type

/** Errors that are about the client or its proof, whatever became of the token that it carried. */
const ofClient: ReadonlySet<string> = new Set([
  "invalid_client",
  "unauthorized_client",
  "invalid_client_id",
  "incorrect_client_credentials",
  "bad_client_secret",
  "invalid_dpop_proof"
])

/**
 * Whether a refusal may as well mean that an earlier request has used up what this one carried: a provider may call that
 * `invalid_request`, or by a word that nobody knows.
 */
export const isUnclear = (failure: RedemptionFailure): boolean =>
  failure._tag === "Transient" && failure.unclear === true ||
  failure._tag === "Configuration" && !ofClient.has(failure.error)

/** Error of a redemption. */
export class RedemptionError
  extends Schema.TaggedError<RedemptionError>("valetkey/RedemptionError")("RedemptionError", {
    reason: RedemptionFailure,
    cause: Schema.optionalKey(Schema.Defect())
  })
{
  override get message() {
    return `The token endpoint gave no credentials: ${this.reason._tag}`
  }
}

/** Error of a revocation that should be tried again: the token must be taken for valid until then (RFC 7009 §2.2.1). */
export class RevocationError
  extends Schema.TaggedError<RevocationError>("valetkey/RevocationError")("RevocationError", {
    code: Schema.Literals([
      "revocation_unreachable",
      "revocation_unavailable",
      "revocation_refused",
      "client_secret_missing"
    ]),
    /** How long the server asks to be left alone. */
    retryAfter: Schema.optionalKey(Schema.Duration),
    cause: Schema.optionalKey(Schema.Defect())
  })
{
  override get message() {
    switch (this.code) {
      case "revocation_unreachable":
        return "The revocation endpoint gave no answer; check that the authorization server is up"
      case "revocation_unavailable":
        return "The revocation endpoint asks to be tried later"
      case "revocation_refused":
        return "The authorization server refuses the revocation; check the client registration of the server"
      case "client_secret_missing":
        return "The client authenticates with a secret and none is known; end the grant at the provider"
    }
  }
}

/** A client as the authorization server answered to its registration, the secret still open. */
export interface RegisteredClient {
  readonly clientId: string
  readonly authMethod: TokenEndpointAuthMethod
  readonly clientSecret?: Redacted.Redacted | undefined
  readonly clientSecretExpiresAt?: DateTime.Utc | undefined
}

/** Where and how scopes stand in a request. */
export interface ScopesAs {
  readonly separator: "space" | "comma"
  readonly parameter: string
}

/** On whose word a token is asked for without a consent. */
export type Authority =
  /** RFC 6749 §4.4. */
  | { readonly _tag: "Client" }
  /** A token of the platform, for the authorization server itself (RFC 7523 §2.1). */
  | { readonly _tag: "Workload"; readonly token: Redacted.Redacted }
  /** An ID token, to be exchanged at its issuer first (Identity Assertion Authorization Grant, RFC 8693). */
  | {
    readonly _tag: "Identity"
    readonly grant: Grant
    readonly clientSecret: Redacted.Redacted | undefined
    readonly idToken: Redacted.Redacted
  }

/** The request that a browser carries to the authorization endpoint. */
export interface AuthorizationRequest {
  readonly authorizationEndpoint: string
  readonly clientId: string
  readonly redirectUri: string
  readonly scopes: ReadonlyArray<string>
  /** How a provider takes the scopes; by default separated by spaces in `scope` (RFC 6749 §3.3). */
  readonly scopesAs?: ScopesAs | undefined
  /** How the response is to come; by default as plain parameters of the query (JARM §2.3). */
  readonly responseMode?: SignedResponses["mode"] | undefined
  readonly resource: string | undefined
  readonly state: Redacted.Redacted
  readonly codeVerifier: Redacted.Redacted
  /** Asks for an ID token that carries it (OpenID Connect Core 1.0 §3.1.2.1). */
  readonly nonce?: Redacted.Redacted | undefined
  /** Binds the code, and so the tokens, to this key (RFC 9449 §10). */
  readonly proofKey?: Redacted.Redacted | undefined
  readonly parameters: { readonly [name: string]: string }
}

/** An authorization request that is not to go through the browser, and how its client proves itself (RFC 9126 §2). */
export interface PushRequest {
  readonly endpoint: string
  readonly issuer: string
  /** The URL that led to the endpoint. */
  readonly origin: string
  readonly authorizationEndpoint: string
  readonly clientId: string
  readonly authMethod: TokenEndpointAuthMethod
  readonly clientSecret?: Redacted.Redacted | undefined
  /** What is asked for, as a URL that nobody opens. */
  readonly authorizationUrl: Redacted.Redacted
}

/** Port: what an authorization server is asked, in the messages of RFC 6749 and its extensions. Every request has a deadline of its own. */
export class AuthorizationServer extends Context.Service<AuthorizationServer, {
  /**
   * Finds the authorization server of a resource (RFC 9728, RFC 8414, OpenID Connect Discovery) and validates what it says
   * of itself. For a server with configured endpoints nobody is asked.
   */
  discover(server: Server): Effect.Effect<AuthorizationServerMetadata, DiscoveryError>
  /** Registers a client for one redirect URI, or for the device grant alone (RFC 7591). */
  register(metadata: AuthorizationServerMetadata, input: {
    /** Undefined for a client that no browser is ever sent back to. */
    readonly redirectUri: string | undefined
    readonly transport: TransportKind
    readonly scopes: ReadonlyArray<string>
    /**
     * A fresh key for this registration alone, registered where the server takes no simpler proof: it is then the client's
     * secret.
     */
    readonly signingKey?: Redacted.Redacted | undefined
  }): Effect.Effect<RegisteredClient, DiscoveryError>
  /** The authorization URL with PKCE S256 (RFC 7636 §4.3). It holds `state` and is therefore a secret. */
  authorizationUrl(request: AuthorizationRequest): Effect.Effect<Redacted.Redacted>
  /**
   * Pushes an authorization request and returns the URL that refers to it (RFC 9126 §4). It is good for one visit, for as
   * long as the server says, which may be less than a minute; pushing again makes another.
   */
  push(request: PushRequest): Effect.Effect<Redacted.Redacted, DiscoveryError>
  /**
   * Verifies a signed authorization response by what its flow has frozen: signature, issuer, audience and time, and that it
   * is about this state (JARM §2.4). Returns its parameters, those of an error included. Asks nobody but for the issuer's
   * keys, and changes nothing.
   */
  verifyResponse(flow: ClaimedFlow, response: {
    readonly token: Redacted.Redacted
    readonly state: Redacted.Redacted
  }): Effect.Effect<URLSearchParams, ResponseError>
  /**
   * Posts the code once (RFC 6749 §4.1.3). Never retried: a second call may burn the grant. With a nonce the answer's ID
   * token is checked and says whose the credentials are; without one it is dropped unread. With a proof key the request
   * carries a proof, once more when the server refuses it for want of its nonce, and the credentials keep the key.
   */
  exchange(accepted: CallbackAccepted, secrets: {
    readonly codeVerifier: Redacted.Redacted
    readonly clientSecret: Redacted.Redacted | undefined
    readonly proofKey?: Redacted.Redacted | undefined
    readonly nonce?: Redacted.Redacted | undefined
  }): Effect.Effect<Credentials, RedemptionError>
  /** Asks for a device code and a user code (RFC 8628 §3.1). Nothing is granted by it. */
  authorizeDevice(
    metadata: AuthorizationServerMetadata,
    request: DeviceAuthorizationRequest
  ): Effect.Effect<DeviceAuthorization, DiscoveryError>
  /**
   * Asks once what became of a device code (RFC 8628 §3.4). Asking again is safe at any time: a code is granted once, and
   * a server that granted it refuses it from then on.
   */
  poll(grant: Grant, input: {
    readonly deviceCode: Redacted.Redacted
    readonly clientSecret: Redacted.Redacted | undefined
    readonly proofKey?: Redacted.Redacted | undefined
    /** Whether an ID token was asked for: then it is checked, and names the account. */
    readonly openid?: boolean | undefined
  }): Effect.Effect<DeviceAnswer, RedemptionError>
  /**
   * Posts the refresh token once (RFC 6749 §6). Never retried here. The access token is empty when the answer had none
   * and rotated the refresh token all the same: the new one may be the only one left. The account is what a readable ID
   * token claims, for comparison alone.
   */
  refresh(grant: Grant, secrets: {
    readonly refreshToken: Redacted.Redacted
    readonly clientSecret: Redacted.Redacted | undefined
    readonly proofKey?: Redacted.Redacted | undefined
  }): Effect.Effect<Credentials, RedemptionError>
  /**
   * Asks once for an access token by an authority that is no person's consent. Nothing is used up: asking again is safe at
   * any time. A refresh token in the answer is dropped. `Terminal` means that the identity provider takes the ID token no
   * more; whatever else is refused for good is `Configuration`. An assertion that is for another authorization server than
   * the grant's leaves for none.
   */
  obtain(grant: Grant, secrets: {
    readonly clientSecret: Redacted.Redacted | undefined
    readonly authority: Authority
  }): Effect.Effect<Credentials, RedemptionError>
  /**
   * Asks once when an access token ends (RFC 7662 §2). Undefined where nothing is learnt of it: no endpoint, no usable
   * answer, or one that calls the token inactive. Never fails, for nothing may depend on it.
   */
  expiryOf(grant: Grant, input: {
    readonly accessToken: Redacted.Redacted
    readonly clientSecret: Redacted.Redacted | undefined
  }): Effect.Effect<DateTime.Utc | undefined>
  /**
   * Revokes a token (RFC 7009 §2.1): `confirmed` when the server says that it is void, `unsupported` when the server
   * offers no revocation, or none for tokens of this kind.
   */
  revoke(grant: Grant, input: {
    readonly token: Redacted.Redacted
    readonly hint: "access_token" | "refresh_token"
    readonly clientSecret: Redacted.Redacted | undefined
  }): Effect.Effect<"confirmed" | "unsupported", RevocationError>
}>()("@valetkey/domain/AuthorizationServer") {}
