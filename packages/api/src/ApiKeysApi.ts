import { ApiKeyId } from "@valetkey/domain/ApiKey"
import { SubjectId } from "@valetkey/domain/Subject"
import { Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import { problems } from "./ApiProblem.ts"
import { group, guarded } from "./Policy.ts"
import { ApiScope } from "./Principal.ts"
import { DisplayName, Identity, Instant, PageLimit } from "./Text.ts"

/** Schema for an API key as its tenant sees it: no secret. */
export const ApiKeyView = Schema.Struct({
  id: ApiKeyId,
  name: Schema.String,
  /** On whose behalf it acts. */
  subject: SubjectId,
  scopes: Schema.Array(ApiScope),
  createdAt: Instant,
  expiresAt: Instant,
  revokedAt: Schema.optionalKey(Instant),
  /** When it was used, give or take an hour. */
  lastUsedAt: Schema.optionalKey(Instant)
}).annotate({ identifier: "ApiKey" })
export type ApiKeyView = typeof ApiKeyView.Type

/** Seconds that a key lives when nothing is said, and at most. */
export const apiKeyLifetime = { usual: 90 * 86_400, longest: 3650 * 86_400 } as const

/** Schema for what a new key may do, for whom and how long. Its tenant is the caller's. Unknown keys are refused. */
export const ApiKeyPayload = Schema.Struct({
  name: DisplayName,
  /** None that the caller does not hold. */
  scopes: Schema.NonEmptyArray(ApiScope).check(Schema.isMaxLength(ApiScope.literals.length), Schema.isUnique()),
  /** Default the caller. */
  subject: Schema.optionalKey(SubjectId.check(Identity)),
  /** Default 90 days, at most ten years. */
  expiresInSeconds: Schema.optionalKey(
    Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: apiKeyLifetime.longest }))
  )
}).annotate({ identifier: "NewApiKey" })
export type ApiKeyPayload = typeof ApiKeyPayload.Type

/** Schema for a key that was just made. The credential is shown here and never again. */
export const ApiKeyCreated = Schema.Struct({
  credential: Schema.RedactedFromValue(Schema.String),
  apiKey: ApiKeyView
}).annotate({ identifier: "ApiKeyCreated" })
export type ApiKeyCreated = typeof ApiKeyCreated.Type

/** Credentials that an operator hands to programs. */
export class ApiKeysApi extends group(
  "apiKeys",
  guarded(
    ["admin"],
    HttpApiEndpoint.post("create", "/v1/api-keys", {
      payload: ApiKeyPayload,
      success: ApiKeyCreated.pipe(HttpApiSchema.status(201)),
      error: problems(403, 503)
    }).annotate(OpenApi.Summary, "Make an API key; its credential is shown once")
  ),
  guarded(
    ["admin"],
    HttpApiEndpoint.get("list", "/v1/api-keys", {
      query: { limit: Schema.optionalKey(PageLimit), after: Schema.optionalKey(ApiKeyId) },
      success: Schema.Struct({
        apiKeys: Schema.Array(ApiKeyView),
        /** What to send as `after` for the next page. */
        next: Schema.optionalKey(ApiKeyId)
      }),
      error: problems(503)
    }).annotate(OpenApi.Summary, "List the tenant's API keys, ended ones included")
  ),
  guarded(
    ["admin"],
    HttpApiEndpoint.delete("revoke", "/v1/api-keys/:id", {
      /** Any text: what is no id names no key, and is answered like one that does not exist. */
      params: { id: Schema.String },
      success: HttpApiSchema.NoContent,
      error: problems(404, 503)
    }).annotate(OpenApi.Summary, "Revoke an API key; refused everywhere within a second")
  )
).annotate(OpenApi.Description, "Credentials that an operator hands to programs.") {}
