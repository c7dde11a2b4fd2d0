import { Context, type Effect, type Option } from "effect"
import { rowOf, type SealContext, type Sealed } from "./Sealed.ts"
import type { StoreError } from "./StoreError.ts"
import type { TenantId } from "./Tenant.ts"

/** The data key of a tenant as it is stored: sealed under a root key. */
export interface TenantKey {
  /** Names the key in the envelopes that are under it. */
  readonly id: number
  readonly dataKey: Sealed
}

/** The seal context of a data key. Its id is part of the row, so it opens for the envelopes that name it and for no other. */
export const sealContext = (tenant: TenantId, id: number): SealContext => ({
  table: "tenant_keys",
  tenant,
  row: rowOf(String(id)),
  field: "data_key",
  generation: 0
})

/** Port: the one data key of each tenant. Deleting the tenant destroys it. */
export class TenantKeyStore extends Context.Service<TenantKeyStore, {
  /** The key of a tenant; none when it has no key, or none any more. */
  find(tenant: TenantId): Effect.Effect<Option.Option<TenantKey>, StoreError>
  /**
   * Stores the key if the tenant has none, and returns the one that it has then: of callers that race, all get the same.
   * Refused with `tenant_deleted` for a tenant that is gone.
   */
  create(tenant: TenantId, key: TenantKey): Effect.Effect<TenantKey, StoreError>
}>()("@valetkey/domain/TenantKeyStore") {}
