import { Generation } from "@valetkey/domain/Connection"
import { ServerSlug } from "@valetkey/domain/Server"
import { Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as OpenApi from "effect/http-api/OpenApi"
import { problems } from "./ApiProblem.ts"
import { group, guarded } from "./Policy.ts"
import { Instant, WireSecret, WireUrl } from "./Text.ts"

/** Schema for what a caller may ask of a token. */
export const TokenPayload = Schema.Struct({
  /** How long the token must stay valid; capped at half of its lifetime. Default 30. */
  minValiditySeconds: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 86_400 }))),
  /** The access token that the resource refused with 401. */
  rejectedToken: Schema.optionalKey(WireSecret),
  /**
   * The request that the token is for. Where tokens are bound to a key (RFC 9449) the answer has a proof of it, and without
   * one there is no token.
   */
  proof: Schema.optionalKey(Schema.Struct({
    method: Schema.String.check(Schema.isPattern(/^[A-Z]{1,32}$/, { expected: "a method in capitals" })),
    url: WireUrl,
    /** The `DPoP-Nonce` that the resource answered with last. */
    nonce: Schema.optionalKey(
      Schema.String.check(Schema.isPattern(/^[\x21\x23-\x5B\x5D-\x7E]{1,1024}$/, { expected: "a nonce" }))
    )
  }))
}).annotate({ identifier: "TokenDemand" })
export type TokenPayload = typeof TokenPayload.Type

/** Schema for an access token: with the authorization URL the only secret that the API gives out. */
export const TokenView = Schema.Struct({
  accessToken: Schema.RedactedFromValue(Schema.String),
  /** With `DPoP` the token goes with the scheme `DPoP`, and `proof` in the header of this name. */
  tokenType: Schema.String,
  /** Good for the one request that was named, and for about a minute. */
  proof: Schema.optionalKey(Schema.RedactedFromValue(Schema.String)),
  expiresAt: Schema.optionalKey(Instant),
  scopes: Schema.optionalKey(Schema.Array(Schema.String)),
  generation: Generation,
  /** The resource that it is for: send it nowhere else. Absent for credentials that were deposited without one. */
  resource: Schema.optionalKey(Schema.String)
}).annotate({ identifier: "AccessToken" })
export type TokenView = typeof TokenView.Type

/** Fresh access tokens. */
export class TokensApi extends group(
  "tokens",
  guarded(
    ["tokens:read"],
    HttpApiEndpoint.post("get", "/v1/connections/:server/token", {
      params: { server: ServerSlug },
      payload: [TokenPayload, Schema.Null],
      success: TokenView,
      error: problems(403, 404, 409, 503)
    }).annotate(OpenApi.Summary, "A fresh access token; refreshes when it must")
  )
).annotate(OpenApi.Description, "Fresh access tokens for the caller's connections.") {}
