import { NamedAccount } from "@valetkey/domain/Account"
import { AuditEvent } from "@valetkey/domain/AuditEvent"
import { Generation, ReauthReason } from "@valetkey/domain/Connection"
import { Digest } from "@valetkey/domain/Entropy"
import { RedemptionPolicy, ScopeToken, ServerSlug, TokenEndpointAuthMethod } from "@valetkey/domain/Server"
import { publicKeyOf } from "@valetkey/domain/SigningKey"
import { Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import { problems } from "./ApiProblem.ts"
import { group, guarded, inConsole } from "./Policy.ts"
import { ClientId, DisplayName, Instant, misfit, PageLimit, WireSecret, WireUrl } from "./Text.ts"

/** Schema for a connection as its owner sees it: no secret. */
export const ConnectionView = Schema.Struct({
  server: ServerSlug,
  status: Schema.Literals(["active", "needs_reauth", "revoking", "quarantined"]),
  /** With `needs_reauth`. */
  reason: Schema.optionalKey(ReauthReason),
  issuer: Schema.String,
  clientId: Schema.String,
  /** Whose credentials these are at the provider; absent where nobody said. */
  account: Schema.optionalKey(Schema.Struct({
    issuer: Schema.String,
    /** The provider's lasting identifier of the account, `sub`. */
    id: Schema.String,
    /** What a person knows the account by; for people to read, never to compare. */
    label: Schema.optionalKey(Schema.String),
    /** When it took the place of another account. */
    replacedAt: Schema.optionalKey(Instant)
  })),
  tokenType: Schema.String,
  /** Granted scopes; absent when the authorization server said nothing. */
  scopes: Schema.optionalKey(Schema.Array(Schema.String)),
  /** When the current access token ends; absent when it has no end. */
  expiresAt: Schema.optionalKey(Instant),
  /** What is known of the connection's end; absent where nobody named a date. */
  forecast: Schema.optionalKey(Schema.Struct({
    /** When the refresh token idles out unless it is redeemed before. */
    idlesOutAt: Schema.optionalKey(Instant),
    /** When the grant ends however often it is used: sign in again before that. */
    signInBefore: Schema.optionalKey(Instant)
  })),
  generation: Generation,
  createdAt: Instant,
  updatedAt: Instant,
  /** When a token was last handed out, to within a minute. Where connections are listed or read, if a use is on record. */
  lastUsedAt: Schema.optionalKey(Instant)
}).annotate({ identifier: "Connection" })
export type ConnectionView = typeof ConnectionView.Type

const { server: _, subject: __, target: ___, tenant: ____, ...event } = AuditEvent.fields

/** Schema for one event in the history of a connection: what happened, and what came of it. No secret. */
export const HistoryEvent = Schema.Struct({
  /** Its hash in the tenant's chain. */
  id: Digest,
  at: Instant,
  ...event
}).annotate({ identifier: "HistoryEvent" })
export type HistoryEvent = typeof HistoryEvent.Type

/** Schema for a part of the history of a connection, the latest event first. */
export const HistoryView = Schema.Struct({
  events: Schema.Array(HistoryEvent),
  /** When a token was last handed out, to within a minute; absent when no use is on record. */
  lastUsedAt: Schema.optionalKey(Instant),
  /** What to send as `before` for what was earlier. */
  next: Schema.optionalKey(Digest)
}).annotate({ identifier: "History" })
export type HistoryView = typeof HistoryView.Type

/** Schema for credentials that were obtained elsewhere, with what a refresh must know. Unknown keys are refused. */
export const DepositPayload = Schema.Struct({
  /** Without it the issuer, or else the resource, is asked for its metadata (RFC 8414, RFC 9728). */
  tokenEndpoint: Schema.optionalKey(WireUrl),
  refreshToken: WireSecret,
  clientId: ClientId,
  /** With `private_key_jwt` the client's private key, as a JWK (RFC 7517). */
  clientSecret: Schema.optionalKey(WireSecret),
  /** Default `client_secret_basic` with a secret, `none` without. */
  authMethod: Schema.optionalKey(TokenEndpointAuthMethod),
  /** Default the origin of the token endpoint; this, `tokenEndpoint` or `resource` is needed. */
  issuer: Schema.optionalKey(WireUrl),
  revocationEndpoint: Schema.optionalKey(WireUrl),
  resource: Schema.optionalKey(WireUrl),
  redemptionPolicy: Schema.optionalKey(RedemptionPolicy),
  /** Without it the first use refreshes. */
  accessToken: Schema.optionalKey(WireSecret),
  tokenType: Schema.optionalKey(
    Schema.String.check(Schema.isPattern(/^[A-Za-z0-9._-]{1,64}$/, { expected: "a token type" }))
  ),
  /** The private key that the tokens are bound to: a P-256 key, as a JWK (RFC 9449). */
  proofKey: Schema.optionalKey(WireSecret.check(Schema.makeFilter((key) => {
    const publicKey = publicKeyOf(key)
    return publicKey?.kty === "EC" && publicKey.crv === "P-256" ? undefined : "expected a private P-256 key as a JWK"
  }))),
  scopes: Schema.optionalKey(Schema.Array(ScopeToken).check(Schema.isMaxLength(100))),
  expiresAt: Schema.optionalKey(Instant),
  /** When the refresh token ends unless it is redeemed before, as its issuer said. */
  refreshExpiresAt: Schema.optionalKey(Instant),
  /** When the person consented; without it, now. */
  grantedAt: Schema.optionalKey(Instant),
  /** Whose they are at the provider, as their present holder knows it. A later consent is compared with it. */
  account: Schema.optionalKey(Schema.Struct({
    issuer: WireUrl,
    /** The provider's lasting identifier of the account, `sub`. */
    id: NamedAccount.fields.id,
    /** At most 120 characters of it are kept, on one line. */
    label: Schema.optionalKey(DisplayName)
  })),
  /**
   * Redeem the refresh token once before answering, in the same way as any refresh. Refused credentials are answered with
   * `deposit_refused` and leave a connection that needs consent.
   */
  verify: Schema.optionalKey(Schema.Boolean),
  /**
   * With `verify`: credentials that the redemption does not prove are deleted again, and their grant is left alone. For
   * credentials that their present holder goes on using when this fails. Ends also when the caller hangs up. What may be
   * used up and may yet be redeemed is kept and answered with `deposit_refused` and the reason `unknown_outcome`.
   */
  forgetUnproved: Schema.optionalKey(Schema.Boolean),
  /** Overwrite a connection that is there. Without it, `If-Match` with the quoted generation says which one is meant. */
  replace: Schema.optionalKey(Schema.Boolean)
}).check(
  Schema.makeFilter((deposit) =>
    deposit.tokenEndpoint === undefined && deposit.issuer === undefined && deposit.resource === undefined
      ? { path: ["tokenEndpoint"], issue: "expected, or an issuer or a resource whose metadata leads to it" }
      : undefined
  ),
  Schema.makeFilter(({ authMethod, clientSecret }) =>
    authMethod === undefined ? undefined : misfit(authMethod, clientSecret)
  ),
  Schema.makeFilter(({ authMethod, issuer, tokenEndpoint }) =>
    authMethod === "private_key_jwt" && tokenEndpoint !== undefined && issuer === undefined
      ? { path: ["issuer"], issue: "expected with private_key_jwt: what is signed is for this issuer alone" }
      : undefined
  )
).annotate({ identifier: "Deposit" })
export type DepositPayload = typeof DepositPayload.Type

/** The generation that a deposit replaces, as an entity tag (RFC 9110 §8.8.3). */
const IfMatch = Schema.String.check(
  Schema.isPattern(/^"\d{1,15}"$/, { expected: "the connection's generation in double quotes" })
)

const Deposited = Schema.Struct({ created: Schema.Literal(true), connection: ConnectionView })
const Replaced = Schema.Struct({ created: Schema.Literal(false), connection: ConnectionView })
const params = { server: ServerSlug }

/** What a person has connected. */
export class ConnectionsApi extends group(
  "connections",
  inConsole(guarded(
    ["connections:read"],
    HttpApiEndpoint.get("list", "/v1/connections", {
      query: { limit: Schema.optionalKey(PageLimit), after: Schema.optionalKey(ServerSlug) },
      success: Schema.Struct({
        connections: Schema.Array(ConnectionView),
        /** What to send as `after` for the next page. */
        next: Schema.optionalKey(ServerSlug)
      }),
      error: problems(503)
    }).annotate(OpenApi.Summary, "List the caller's connections")
  )),
  inConsole(guarded(
    ["connections:read"],
    HttpApiEndpoint.get("get", "/v1/connections/:server", {
      params,
      success: ConnectionView,
      error: problems(404, 503)
    })
      .annotate(OpenApi.Summary, "One connection")
  )),
  inConsole(guarded(
    ["connections:read"],
    HttpApiEndpoint.get("history", "/v1/connections/:server/history", {
      params,
      query: { limit: Schema.optionalKey(PageLimit), before: Schema.optionalKey(Digest) },
      success: HistoryView,
      error: problems(503)
    }).annotate(OpenApi.Summary, "What became of a connection, the latest first; also of one that is gone")
  )),
  guarded(
    ["connections:write"],
    HttpApiEndpoint.put("deposit", "/v1/connections/:server", {
      params,
      headers: { "if-match": Schema.optionalKey(IfMatch) },
      payload: DepositPayload,
      success: [Deposited.pipe(HttpApiSchema.status(201)), Replaced],
      error: problems(409, 412, 422, 502, 503)
    }).annotate(OpenApi.Summary, "Deposit credentials obtained elsewhere")
  ),
  inConsole(guarded(
    ["connections:write"],
    HttpApiEndpoint.delete("disconnect", "/v1/connections/:server", {
      params,
      success: HttpApiSchema.NoContent,
      error: problems(503)
    }).annotate(OpenApi.Summary, "Refuse tokens at once and revoke")
  ))
).annotate(OpenApi.Description, "What the caller has connected. No answer holds a secret.") {}
