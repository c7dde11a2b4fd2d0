import { Context, type DateTime, type Duration, type Effect, type Option } from "effect"
import type { ConnectionKey } from "./Connection.ts"
import type { FlowId } from "./Flow.ts"
import type { StoreError } from "./StoreError.ts"
import type { TenantId } from "./Tenant.ts"

/** How far the deletion of a tenant is. A deleted one stays as a tombstone, which holds the name and nothing else. */
export interface TenantDeletion {
  readonly tenant: TenantId
  readonly requestedAt: DateTime.Utc
  /** When nothing of the tenant was left; undefined while rows are. */
  readonly deletedAt: DateTime.Utc | undefined
  /** Connections whose tokens do not wait for their revocation yet. */
  readonly connections: number
  /** Revocations that are still owed. */
  readonly revocations: number
}

/**
 * Port: tenants that are being deleted, and those that are gone. A tenant that was never deleted is not known here.
 *
 * From `begin` on the store itself refuses with `tenant_deleted` what would give the tenant a row again: a flow, a
 * connection, a registration, a server or an API key, whoever writes it and however late. Revocations are refused once
 * the tenant is gone.
 */
export class TenantStore extends Context.Service<TenantStore, {
  /**
   * Marks the tenant, in one atomic step: from its commit on the tenant is refused what is said above, no flow of it is
   * open, and its API keys, servers and registrations are gone. A write that was under way is refused, or is seen by this
   * step. No connection is `active` or `needs_reauth` when it returns; more than ten thousand may take further steps, and
   * the same call again goes on with them. Returns the flows that were ended. Idempotent.
   */
  begin(tenant: TenantId): Effect.Effect<ReadonlyArray<FlowId>, StoreError>
  /** The deletion of a tenant; none when it is not being deleted and was not. */
  find(tenant: TenantId): Effect.Effect<Option.Option<TenantDeletion>, StoreError>
  /** Whether the tenant is marked. One read by key. */
  isMarked(tenant: TenantId): Effect.Effect<boolean, StoreError>
  /** The tenants of which something is left. */
  readonly unfinished: Effect.Effect<ReadonlyArray<TenantId>, StoreError>
  /** Up to `limit` connections of the tenant whose tokens do not wait for their revocation yet. */
  connected(tenant: TenantId, limit: number): Effect.Effect<ReadonlyArray<ConnectionKey>, StoreError>
  /**
   * Removes what is left, up to `limit` rows of each table in one atomic step, as soon as no revocation is owed and no
   * exchange or refresh that was under way at the mark may still end; when `patience` has passed since the mark, whatever
   * is owed. The step that finds nothing left destroys the data key and makes the tombstone. Audit events stay.
   */
  erase(
    tenant: TenantId,
    input: { readonly patience: Duration.Duration; readonly limit: number }
  ): Effect.Effect<"waiting" | "more" | "deleted", StoreError>
  /**
   * Removes the tombstone, so that the name may be used again, and keeps the time: late tokens from before are refused.
   * False while the deletion is not finished. Idempotent.
   */
  allow(tenant: TenantId): Effect.Effect<boolean, StoreError>
}>()("@valetkey/domain/TenantStore") {}
