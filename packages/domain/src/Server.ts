import { Schema } from "effect"
import { AccountChange } from "./Account.ts"
import { refreshTermsFields } from "./RefreshTerms.ts"
import { Sealed } from "./Sealed.ts"
import { PublicKey } from "./SigningKey.ts"
import { TenantId } from "./Tenant.ts"

/** Schema for the short name of a server within a tenant: what a person types after `valetkey token`. */
export const ServerSlug = Schema.String.check(Schema.isPattern(/^[a-z0-9][a-z0-9._-]{0,62}$/, {
  expected: "1 to 63 characters of a-z, 0-9, '.', '_' or '-', beginning with a letter or digit"
})).pipe(Schema.brand("ServerSlug"))
export type ServerSlug = typeof ServerSlug.Type

/**
 * Schema for how a client proves itself at the token endpoint (RFC 7591 §2, `token_endpoint_auth_method`). What is called
 * its secret is with `private_key_jwt` its private key, as a JWK (RFC 7523 §2.2, RFC 7517).
 */
export const TokenEndpointAuthMethod = Schema.Literals([
  "none",
  "client_secret_basic",
  "client_secret_post",
  "private_key_jwt"
])
export type TokenEndpointAuthMethod = typeof TokenEndpointAuthMethod.Type

/**
 * Whether the proof that a client has for one method is of use for the other. A secret may go in either way that sends it; a
 * private key goes nowhere.
 */
export const sharesProof = (one: TokenEndpointAuthMethod, other: TokenEndpointAuthMethod): boolean =>
  isSent(one) && isSent(other) || one === other && one !== "none"

const isSent = (method: TokenEndpointAuthMethod): boolean =>
  method === "client_secret_basic" || method === "client_secret_post"

/** Schema for an absolute http or https URL without credentials and fragment. Egress rules are applied when it is used. */
export const HttpUrl = Schema.String.check(
  Schema.isMaxLength(2048),
  Schema.makeFilter((text) => {
    const url = URL.parse(text)
    return url !== null && (url.protocol === "https:" || url.protocol === "http:") && url.username === "" &&
        url.password === "" && url.hash === ""
      ? undefined
      : "expected an absolute http or https URL without credentials and fragment"
  })
)

/** Schema for a scope-token (RFC 6749 §3.3). */
export const ScopeToken = Schema.String.check(Schema.isPattern(/^[\x21\x23-\x5B\x5D-\x7E]{1,255}$/, {
  expected: "a scope token"
}))

/**
 * Schema for what to do when the outcome of a refresh is unknown: `strict` never sends the same refresh token twice and
 * asks the person again; `retry-once` sends it at most twice. guarantees I1.
 */
export const RedemptionPolicy = Schema.Literals(["strict", "retry-once"])
export type RedemptionPolicy = typeof RedemptionPolicy.Type

/** Schema for the name that whoever runs an installation gave to a token of its platform. */
export const WorkloadName = Schema.String.check(Schema.isPattern(/^[a-z0-9][a-z0-9._-]{0,62}$/, {
  expected: "1 to 63 characters of a-z, 0-9, '.', '_' or '-', beginning with a letter or digit"
})).pipe(Schema.brand("WorkloadName"))
export type WorkloadName = typeof WorkloadName.Type

/**
 * Schema for how tokens of a server are obtained where nobody has to consent: by the authority of its client alone
 * (RFC 6749 §4.4); of the identity provider that the same subject is connected to as the server `identity` (Identity
 * Assertion Authorization Grant); or of the platform that this installation runs on, by its token `workload` (RFC 7523 §2.1).
 */
export const UnattendedGrant = Schema.Union([
  Schema.Struct({ type: Schema.Literal("client_credentials") }),
  Schema.Struct({ type: Schema.Literal("identity_assertion"), identity: ServerSlug }),
  Schema.Struct({ type: Schema.Literal("workload_assertion"), workload: WorkloadName })
])
export type UnattendedGrant = typeof UnattendedGrant.Type

/** Schema for endpoints of an authorization server that publishes no metadata. */
export const StaticEndpoints = Schema.Struct({
  /** Absent where no person is sent to it: from servers with a grant of their own. */
  authorization: Schema.optionalKey(HttpUrl),
  token: HttpUrl,
  revocation: Schema.optionalKey(HttpUrl),
  /** RFC 7662 §2. */
  introspection: Schema.optionalKey(HttpUrl),
  /** RFC 8628 §3.1. */
  deviceAuthorization: Schema.optionalKey(HttpUrl)
})

/** Parameters of an authorization request that are ours alone: neither configuration nor an endpoint's own query sets one. */
export const ownedParameters: ReadonlyArray<string> = [
  "response_type",
  "response_mode",
  "client_id",
  "redirect_uri",
  "scope",
  "state",
  "code_challenge",
  "code_challenge_method",
  "resource",
  "nonce",
  "request",
  "request_uri",
  "dpop_jkt"
]

/**
 * Schema for how a provider's token and revocation endpoints are spoken to where they do not speak RFC 6749 and RFC 7009.
 * It is frozen in the grant, for a refresh has to know it.
 */
export const TokenDialect = Schema.Struct({
  /** How parameters of a token or revocation request are written. Default `form`. */
  requestBody: Schema.optionalKey(Schema.Literals(["form", "json"])),
  /** The member of a token answer that holds the tokens of the person, such as Slack's `authed_user`. */
  tokensIn: Schema.optionalKey(Schema.String.check(Schema.isPattern(/^[a-z][a-z0-9_]{0,63}$/, {
    expected: "the name of a member"
  }))),
  /** The type of every access token, for providers that put another word there, such as Slack's `user`. */
  tokenType: Schema.optionalKey(Schema.Literal("bearer")),
  /**
   * Seconds that an access token lives where its answer says nothing, or `unlimited` where what the answer says of it
   * means nothing, because the provider's tokens do not end.
   */
  accessTokenLifetime: Schema.optionalKey(Schema.Union([
    Schema.Literal("unlimited"),
    Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 31_536_000 }))
  ])),
  /** `bearer`: a token is revoked by the request that it authorizes itself, without a body. Default `rfc7009`. */
  revocation: Schema.optionalKey(Schema.Literals(["rfc7009", "bearer"]))
})
export type TokenDialect = typeof TokenDialect.Type

/** Schema for where a provider departs from the standards. Every field has a standard default. */
export const Quirks = Schema.Struct({
  redemptionPolicy: Schema.optionalKey(RedemptionPolicy),
  /** What stands between scopes in a request. Default `space` (RFC 6749 §3.3). */
  scopeSeparator: Schema.optionalKey(Schema.Literals(["space", "comma"])),
  /** The parameter of the authorization request that carries the scopes, such as Slack's `user_scope`. Default `scope`. */
  scopeParameter: Schema.optionalKey(Schema.String.check(Schema.isPattern(/^[a-z][a-z0-9_]{0,63}$/, {
    expected: "the name of a parameter"
  }))),
  tokenDialect: Schema.optionalKey(TokenDialect),
  /** Send `resource` (RFC 8707) in authorization and token requests. Default true. */
  resourceParameter: Schema.optionalKey(Schema.Boolean),
  /** Go on when the metadata names no `code_challenge_methods_supported`; the challenge is sent all the same. Default false. */
  assumePkceSupport: Schema.optionalKey(Schema.Boolean),
  /**
   * Bind tokens to a key that never leaves, and prove its possession with every request (RFC 9449). Default where the
   * resource takes no other tokens.
   */
  proofOfPossession: Schema.optionalKey(Schema.Boolean),
  /**
   * Ask the introspection endpoint when an access token ends, where the answer that brought it says nothing (RFC 7662).
   * Default false.
   */
  introspectExpiry: Schema.optionalKey(Schema.Boolean),
  /** Push authorization requests where that is offered (RFC 9126). Where it is required they always are. Default false. */
  pushedAuthorization: Schema.optionalKey(Schema.Boolean),
  /**
   * Ask for authorization responses as signed tokens (JARM), and take no others; with false never do. Default where the
   * authorization server offers no plain ones.
   */
  signedResponses: Schema.optionalKey(Schema.Boolean),
  /** Use our client id metadata document where the authorization server reads such documents. Default true. */
  clientMetadataDocument: Schema.optionalKey(Schema.Boolean),
  /** Extra parameters of the authorization request, such as `prompt` or `access_type`. */
  authorizationParameters: Schema.optionalKey(Schema.Record(Schema.String, Schema.String))
})
export type Quirks = typeof Quirks.Type

/**
 * Schema for who may hold access tokens of a server: the callers who ask for one, or nobody beyond this installation. With
 * `proxied` requests go through the proxy alone, and no token or export leaves. With `identity` the server is an identity
 * provider: its connections keep the ID token in place of the access token, and show it to nobody but its own token
 * endpoint, in exchange for assertions about the person.
 */
export const TokenCustody = Schema.Literals(["handed_out", "proxied", "identity"])
export type TokenCustody = typeof TokenCustody.Type

/** Schema for a client that was registered by hand. The secret is sealed in context `servers/{slug}/client_secret`, generation 0. */
export const PreregisteredClient = Schema.Struct({
  clientId: Schema.String.check(Schema.isBetweenLength(1, 2048)),
  authMethod: TokenEndpointAuthMethod,
  clientSecret: Schema.optionalKey(Sealed),
  /** The public half of the key of `private_key_jwt`, which the authorization server has to know. */
  publicKey: Schema.optionalKey(PublicKey),
  /** The redirect URI that was registered by hand; a loopback one without port allows any (RFC 8252 §7.3). */
  redirectUri: Schema.optionalKey(HttpUrl)
})

export type PreregisteredClient = typeof PreregisteredClient.Type

/** A protected resource that a person can connect to, as an operator described it. */
export class Server extends Schema.Class<Server>("valetkey/Server")({
  tenant: TenantId,
  slug: ServerSlug,
  name: Schema.optionalKey(Schema.String.check(Schema.isBetweenLength(1, 255))),
  /** The resource URL (RFC 8707); discovery starts here (RFC 9728). */
  resource: HttpUrl,
  /** The only issuer to accept; discovery must agree with it. */
  issuer: Schema.optionalKey(HttpUrl),
  endpoints: Schema.optionalKey(StaticEndpoints),
  client: Schema.optionalKey(PreregisteredClient),
  scopes: Schema.optionalKey(Schema.Array(ScopeToken)),
  /** How tokens are obtained without a person; absent, a person consents. */
  grant: Schema.optionalKey(UnattendedGrant),
  /** Default `handed_out`. */
  tokens: Schema.optionalKey(TokenCustody),
  /** What becomes of a new consent of another account. Default `refuse`. */
  accountChange: Schema.optionalKey(AccountChange),
  ...refreshTermsFields,
  quirks: Quirks
}) {}
