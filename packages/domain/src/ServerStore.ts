import { Context, type Effect, type Option, Schema } from "effect"
import { rowOf, type SealContext } from "./Sealed.ts"
import type { Server, ServerSlug } from "./Server.ts"
import type { StoreError } from "./StoreError.ts"
import type { TenantId } from "./Tenant.ts"

/** The seal context of a pre-registered client's secret. */
export const sealContext = (tenant: TenantId, slug: ServerSlug): SealContext => ({
  table: "servers",
  tenant,
  row: rowOf(slug),
  field: "client_secret",
  generation: 0
})

/** Error of naming a server that the tenant does not have. */
export class ServerNotFound
  extends Schema.TaggedError<ServerNotFound>("valetkey/ServerNotFound")("ServerNotFound", {})
{
  readonly code = "server_not_found" as const
  override get message() {
    return "There is no server of this name; add it first"
  }
}

/** Port: the servers of a tenant. */
export class ServerStore extends Context.Service<ServerStore, {
  get(tenant: TenantId, slug: ServerSlug): Effect.Effect<Option.Option<Server>, StoreError>
  /** A page in the order of slugs, after the given one. */
  list(input: {
    readonly tenant: TenantId
    readonly after: ServerSlug | undefined
    readonly limit: number
  }): Effect.Effect<ReadonlyArray<Server>, StoreError>
  /** Creates or replaces in one step; true when it was created. */
  put(server: Server): Effect.Effect<boolean, StoreError>
  /** Removes a server. Connections to it stay until they are disconnected. Idempotent; false when there was none. */
  remove(tenant: TenantId, slug: ServerSlug): Effect.Effect<boolean, StoreError>
}>()("@valetkey/domain/ServerStore") {}
