import { Context, type DateTime, type Duration, type Effect } from "effect"
import type { AuditEntry, AuditEvent } from "./AuditEvent.ts"
import type { Digest } from "./Entropy.ts"
import type { ServerSlug } from "./Server.ts"
import type { StoreError } from "./StoreError.ts"
import type { SubjectId } from "./Subject.ts"
import type { TenantId } from "./Tenant.ts"

/** Where a tenant's chain ends, and where it begins since older events were removed by retention. */
export interface AuditHead {
  readonly seq: number
  readonly hash: Digest
  /** The last event that retention removed; 0 and the genesis hash when none was. */
  readonly anchor: { readonly seq: number; readonly hash: Digest }
}

/** How many events retention removed from the beginning of a tenant's chain. */
export interface PrunedChain {
  readonly tenant: TenantId
  readonly removed: number
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
  /**
   * Events that concern one connection, the latest first, those before the one of the given hash; none when that is
   * none of its events. Uses of its tokens are left out: there may be thousands between two events that tell how
   * it stands. What was done to the server is not its history.
   */
  history(input: {
    readonly tenant: TenantId
    readonly subject: SubjectId
    readonly server: ServerSlug
    readonly before: Digest | undefined
    readonly limit: number
  }): Effect.Effect<ReadonlyArray<AuditEntry>, StoreError>
  /**
   * When tokens of a subject's connections were last handed out, as far as that is recorded and kept. A connection of
   * which no use is known is not in the answer.
   */
  lastUses(input: {
    readonly tenant: TenantId
    readonly subject: SubjectId
    readonly servers: ReadonlyArray<ServerSlug>
  }): Effect.Effect<ReadonlyMap<ServerSlug, DateTime.Utc>, StoreError>
  /** The ends of a tenant's chain; those of an empty one when nothing was ever recorded. */
  head(tenant: TenantId): Effect.Effect<AuditHead, StoreError>
  /**
   * Removes the events that are older, oldest first and without a gap, at most `limit` of a tenant, moves the anchors,
   * and appends `AuditChain.prunedEvent` to each chain that became shorter, all of a tenant in one step: what is left
   * verifies, and no chain is shorter than it says. Returns how many it removed of which tenant.
   */
  prune(input: { readonly olderThan: Duration.Duration; readonly limit: number }): Effect.Effect<
    ReadonlyArray<PrunedChain>,
    StoreError
  >
}>()("@valetkey/domain/AuditLog") {}
