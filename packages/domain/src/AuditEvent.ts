import { Schema } from "effect"
import { AuditOrigin } from "./AuditOrigin.ts"
import { Digest } from "./Entropy.ts"
import { ServerSlug } from "./Server.ts"
import { SubjectId } from "./Subject.ts"
import { TenantId } from "./Tenant.ts"

/** Schema for the error code of a provider's answer: small letters and underscores, as no token is written. */
export const ProviderAnswer = Schema.String.check(
  Schema.isPattern(/^[a-z][a-z_]{0,39}$/, { expected: "an error code" })
)

/** The error code of an answer as it may be kept: any other text than a short word is `unknown`. */
export const providerAnswerOf = (error: string): string => Schema.is(ProviderAnswer)(error) ? error : "unknown"

/**
 * Schema for one event worth keeping: who did what to which connection or to what an operator is in charge of, from
 * where, with which secret. Never a secret.
 */
export const AuditEvent = Schema.Struct({
  tenant: TenantId,
  subject: SubjectId,
  /** Absent from what concerns no server. */
  server: Schema.optionalKey(ServerSlug),
  action: Schema.Literals([
    "flow.started",
    "flow.grant_left",
    "flow.handed_off",
    "flow.settled",
    "token.read",
    "token.refreshed",
    "token.refresh_failed",
    "connection.account_replaced",
    "connection.deposited",
    "connection.disconnected",
    "connection.ending",
    "connection.exported",
    "connection.forgotten",
    "connection.needs_consent",
    "connection.prepared",
    "connection.revoked",
    "connection.rolled_back",
    "server.stored",
    "server.removed",
    "api_key.created",
    "api_key.revoked",
    "root_key.added",
    "root_key.promoted",
    "root_key.rewrapped",
    "root_key.retired",
    "console.link_created",
    "console.signed_in",
    "console.signed_out",
    "instance.taken_over",
    "tenant.deletion_requested",
    "tenant.allowed",
    "audit.pruned"
  ]),
  /** A stable code that tells the outcome. */
  outcome: Schema.String,
  /** What else was changed: the id of an API key, a root key, an instance, or the name of a tenant. */
  target: Schema.optionalKey(Schema.String),
  ...AuditOrigin.fields,
  generation: Schema.optionalKey(Schema.Natural),
  /** What a provider said, as the error code of its answer (RFC 6749 §5.2). Nothing that it wrote besides. */
  answer: Schema.optionalKey(ProviderAnswer),
  /** Keyed fingerprint of the secret that was used; see `Fingerprints`. */
  fingerprint: Schema.optionalKey(Schema.String),
  /** How many uses, rows or events the event stands for. */
  count: Schema.optionalKey(Schema.Natural)
})
export type AuditEvent = typeof AuditEvent.Type

/** Schema for an event in its tenant's chain: when, where in the order, and the hashes that bind it to the one before. */
export const AuditEntry = Schema.Struct({
  ...AuditEvent.fields,
  /** Counts from 1 without gaps. */
  seq: Schema.Natural,
  /** The store's clock, in milliseconds. */
  at: Schema.DateTimeUtc,
  previous: Digest,
  hash: Digest
})
export type AuditEntry = typeof AuditEntry.Type
