import { Context, type Duration, type Effect, type Option } from "effect"
import type { ApiKey, ApiKeyId } from "./ApiKey.ts"
import type { Digest } from "./Entropy.ts"
import type { StoreError } from "./StoreError.ts"
import type { TenantId } from "./Tenant.ts"

/** Port: API keys. A store knows the digest of a secret and never the secret. */
export class ApiKeyStore extends Context.Service<ApiKeyStore, {
  /** Stores a key that lives for `lifetime` from now by the store's clock. */
  create(
    key: Pick<ApiKey, "id" | "tenant" | "subject" | "name" | "scopes">,
    input: { readonly digest: Digest; readonly lifetime: Duration.Duration }
  ): Effect.Effect<ApiKey, StoreError>
  /** The key of this id, in whichever tenant, with the digest of its secret. None once it is revoked or expired. One read. */
  findLive(id: ApiKeyId): Effect.Effect<Option.Option<{ readonly key: ApiKey; readonly digest: Digest }>, StoreError>
  /** A page of the tenant's keys, revoked and expired ones included, in the order of ids, after the given one. */
  list(input: {
    readonly tenant: TenantId
    readonly after: ApiKeyId | undefined
    readonly limit: number
  }): Effect.Effect<ReadonlyArray<ApiKey>, StoreError>
  /** Ends a key for good; the next `findLive` on any replica is None. Idempotent; false when the tenant has no such key. */
  revoke(tenant: TenantId, id: ApiKeyId): Effect.Effect<boolean, StoreError>
  /** Records that the key is in use, if the last record is older than `coarseness`. */
  touch(tenant: TenantId, id: ApiKeyId, coarseness: Duration.Duration): Effect.Effect<void, StoreError>
}>()("@valetkey/domain/ApiKeyStore") {}
