import { Context, type Duration, type Effect, Schema } from "effect"
import { AuditOrigin } from "./AuditOrigin.ts"
import { Digest } from "./Entropy.ts"
import { ServerSlug } from "./Server.ts"
import type { StoreError } from "./StoreError.ts"
import { SubjectId } from "./Subject.ts"
import { TenantId } from "./Tenant.ts"

/** Schema for one event worth keeping: who did what to which connection, from where, with which secret. Never a secret. */
export const AuditEvent = Schema.Struct({
  tenant: TenantId,
  subject: SubjectId,
  server: ServerSlug,
  action: Schema.Literals([
    "flow.started",
    "flow.settled",
    "token.read",
    "token.refreshed",
    "token.refresh_failed",
    "connection.deposited",
    "connection.disconnected",
    "connection.revoked"
  ]),
  /** A stable code that tells the outcome. */
  outcome: Schema.String,
  ...AuditOrigin.fields,
  generation: Schema.optionalKey(Schema.Natural),
  /** Keyed fingerprint of the secret that was used; see `Fingerprints`. */
  fingerprint: Schema.optionalKey(Schema.String),
  /** How many uses the event stands for, when it is more than this one. */
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

/** Where a tenant's chain ends, and where it begins since older events were removed by retention. */
export interface AuditHead {
  readonly seq: number
  readonly hash: Digest
  /** The last event that retention removed; 0 and the genesis hash when none was. */
  readonly anchor: { readonly seq: number; readonly hash: Digest }
}

/** Port: the append-only record of what was done, one hash chain for each tenant (`AuditChain`). */
export class AuditLog extends Context.Service<AuditLog, {
  /**
   * Links the events to their tenants' chains in the given order, with the store's clock. All events of one tenant are
   * stored or none; concurrent callers, replicas included, never fork a chain.
   */
  append(events: ReadonlyArray<AuditEvent>): Effect.Effect<void, StoreError>
  /** Events of a tenant in the order of the chain, after the given one. */
  read(input: {
    readonly tenant: TenantId
    readonly after: number
    readonly limit: number
  }): Effect.Effect<ReadonlyArray<AuditEntry>, StoreError>
  /** The ends of a tenant's chain; those of an empty one when nothing was ever recorded. */
  head(tenant: TenantId): Effect.Effect<AuditHead, StoreError>
  /**
   * Removes the events that are older, oldest first and without a gap, at most `limit` of a tenant, and moves the
   * anchors in the same step: what is left verifies. Returns how many it removed.
   */
  prune(input: { readonly olderThan: Duration.Duration; readonly limit: number }): Effect.Effect<number, StoreError>
}>()("@valetkey/domain/AuditLog") {}
