import { TenantKeyStore } from "@valetkey/domain/TenantKeyStore"
import { Effect, Layer, Option } from "effect"
import { atomicallyOf } from "./internal/deletions.ts"
import { MemoryWorld } from "./MemoryWorld.ts"

/** Layer of `TenantKeyStore` over the shared state. */
export const layer: Layer.Layer<TenantKeyStore, never, MemoryWorld> = Layer.effect(
  TenantKeyStore,
  Effect.map(MemoryWorld, (world) =>
    TenantKeyStore.of({
      find: (tenant) => Effect.sync(() => Option.fromUndefinedOr(world.tenantKeys.get(tenant))),
      create: (tenant, key) =>
        atomicallyOf(world, tenant, "create", () => {
          const known = world.tenantKeys.get(tenant)
          if (known === undefined) world.tenantKeys.set(tenant, key)
          return known ?? key
        }, "gone")
    }))
)
