import { ReceiptId, RevocationCause, RevocationOutcome, TokenRevocation } from "@valetkey/domain/RevocationReceipt"
import { ServerSlug } from "@valetkey/domain/Server"
import { Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as OpenApi from "effect/http-api/OpenApi"
import { problems } from "./ApiProblem.ts"
import { group, guarded } from "./Policy.ts"
import { Instant, PageLimit } from "./Text.ts"

/** Schema for what became of the tokens of a connection that ended. It says what the authorization server said, no more. */
export const RevocationView = Schema.Struct({
  id: ReceiptId,
  server: ServerSlug,
  /** `late_result`: tokens that came when nobody wanted them any more. */
  cause: RevocationCause,
  /** Of all tokens together, never better than that of any of them. */
  outcome: RevocationOutcome,
  /** Absent when there was no such token. */
  accessToken: Schema.optionalKey(Schema.Struct({
    outcome: TokenRevocation,
    /** When it ends by itself, whatever its outcome; absent when that is not known. */
    expiresAt: Schema.optionalKey(Instant)
  })),
  refreshToken: Schema.optionalKey(Schema.Struct({ outcome: TokenRevocation })),
  /** Since when no token of it has been handed out here. */
  disconnectedAt: Instant,
  attempts: Schema.Natural,
  /** Stable code of how the last attempt failed. */
  error: Schema.optionalKey(Schema.String),
  /** With `pending`. */
  nextAttemptAt: Schema.optionalKey(Instant),
  settledAt: Schema.optionalKey(Instant)
}).annotate({ identifier: "Revocation" })
export type RevocationView = typeof RevocationView.Type

/** What became of the tokens of connections that ended. */
export class RevocationsApi extends group(
  "revocations",
  guarded(
    ["connections:read"],
    HttpApiEndpoint.get("list", "/v1/revocations", {
      query: {
        /** Those of one server. */
        server: Schema.optionalKey(ServerSlug),
        limit: Schema.optionalKey(PageLimit),
        after: Schema.optionalKey(ReceiptId)
      },
      success: Schema.Struct({
        revocations: Schema.Array(RevocationView),
        /** What to send as `after` for the next page. */
        next: Schema.optionalKey(ReceiptId)
      }),
      error: problems(503)
    }).annotate(OpenApi.Summary, "List the caller's revocations, newest first")
  ),
  guarded(
    ["connections:read"],
    HttpApiEndpoint.get("get", "/v1/revocations/:id", {
      /** Any text: what is no id names no revocation, and is answered like one that does not exist. */
      params: { id: Schema.String },
      /** Seconds to wait for it to be settled. */
      query: { wait: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 60 }))) },
      success: RevocationView,
      error: problems(404, 503)
    }).annotate(OpenApi.Summary, "One revocation; waits up to `wait` seconds for it to be settled")
  )
).annotate(
  OpenApi.Description,
  "Receipts of what became of the tokens of connections that ended. They hold no secret and are kept for a while."
) {}
