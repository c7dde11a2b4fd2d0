import { Generation } from "@valetkey/domain/Connection"
import { ServerSlug } from "@valetkey/domain/Server"
import { Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as OpenApi from "effect/http-api/OpenApi"
import { problems } from "./ApiProblem.ts"
import { group, guarded } from "./Policy.ts"
import { Instant, WireSecret } from "./Text.ts"

/** Schema for what a caller may ask of a token. */
export const TokenPayload = Schema.Struct({
  /** How long the token must stay valid; capped at half of its lifetime. Default 30. */
  minValiditySeconds: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 86_400 }))),
  /** The access token that the resource refused with 401. */
  rejectedToken: Schema.optionalKey(WireSecret)
}).annotate({ identifier: "TokenDemand" })
export type TokenPayload = typeof TokenPayload.Type

/** Schema for an access token: with the authorization URL the only secret that the API gives out. */
export const TokenView = Schema.Struct({
  accessToken: Schema.RedactedFromValue(Schema.String),
  tokenType: Schema.String,
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
