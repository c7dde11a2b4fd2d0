import { AuditEvent } from "@valetkey/domain/AuditEvent"
import { Digest } from "@valetkey/domain/Entropy"
import { Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as OpenApi from "effect/http-api/OpenApi"
import { problems } from "./ApiProblem.ts"
import { group, guarded } from "./Policy.ts"
import { Instant, PageLimit } from "./Text.ts"

const { tenant: _, ...event } = AuditEvent.fields

/** Schema for one event of the tenant's chain. */
export const AuditEventView = Schema.Struct({
  seq: Schema.Natural,
  at: Instant,
  ...event,
  /** SHA-256 of the event and of the hash before it, base64url. */
  hash: Digest
}).annotate({ identifier: "AuditEvent" })
export type AuditEventView = typeof AuditEventView.Type

const Place = Schema.Struct({ seq: Schema.Natural, hash: Digest })

/** Schema for what a verification of the tenant's chain found. */
export const AuditVerdictView = Schema.Struct({
  intact: Schema.Boolean,
  /** Events that were read and hashed. */
  events: Schema.Natural,
  /** The end of the chain: keep it elsewhere and pass it as `expect` next time. */
  head: Place,
  /** The last event that retention removed; seq 0 when none was. */
  anchor: Place,
  /** The first thing that is wrong, and the place of the event that should be there. */
  fault: Schema.optionalKey(Schema.Struct({
    kind: Schema.Literals(["missing", "altered", "unlinked", "end_mismatch"]),
    seq: Schema.Natural
  }))
}).annotate({ identifier: "AuditVerdict" })
export type AuditVerdictView = typeof AuditVerdictView.Type

/** Schema for an end that an earlier verification gave: its seq, a colon and its hash. */
const Expectation = Schema.String.check(
  Schema.isPattern(/^(0|[1-9]\d{0,14}):[A-Za-z0-9_-]{43}$/, { expected: "seq:hash of an earlier verification" })
)

/** The record of what was done, one hash chain for each tenant. */
export class AuditApi extends group(
  "audit",
  guarded(
    ["admin"],
    HttpApiEndpoint.get("list", "/v1/audit", {
      query: { limit: Schema.optionalKey(PageLimit), after: Schema.optionalKey(Schema.Natural) },
      success: Schema.Struct({ events: Schema.Array(AuditEventView), next: Schema.optionalKey(Schema.Natural) }),
      error: problems(503)
    }).annotate(OpenApi.Summary, "The tenant's audit events, oldest first, after a place in the chain")
  ),
  guarded(
    ["admin"],
    HttpApiEndpoint.get("verify", "/v1/audit/verification", {
      query: { expect: Schema.optionalKey(Expectation) },
      success: AuditVerdictView,
      error: problems(503)
    }).annotate(OpenApi.Summary, "Hash the tenant's chain anew and say whether it is whole")
  )
).annotate(OpenApi.Description, "The record of what was done: who, what, when, from where; never a secret.") {}
