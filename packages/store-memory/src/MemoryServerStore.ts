import { rowOf } from "@valetkey/domain/Sealed"
import { ServerStore } from "@valetkey/domain/ServerStore"
import { Effect, Layer, Option } from "effect"
import { atomicallyOf } from "./internal/deletions.ts"
import { MemoryWorld } from "./MemoryWorld.ts"

/** Layer of `ServerStore` over the shared state. */
export const layer: Layer.Layer<ServerStore, never, MemoryWorld> = Layer.effect(
  ServerStore,
  Effect.map(MemoryWorld, ({ deletions, servers }) =>
    ServerStore.of({
      get: (tenant, slug) => Effect.sync(() => Option.fromUndefinedOr(servers.get(rowOf(tenant, slug)))),
      list: (input) =>
        Effect.sync(() =>
          [...servers.values()]
            .filter((server) =>
              server.tenant === input.tenant && (input.after === undefined || server.slug > input.after)
            )
            .sort((a, b) => a.slug < b.slug ? -1 : 1)
            .slice(0, input.limit)
        ),
      put: (server) =>
        atomicallyOf({ deletions }, server.tenant, "put", () => {
          const created = !servers.has(rowOf(server.tenant, server.slug))
          servers.set(rowOf(server.tenant, server.slug), server)
          return created
        }),
      remove: (tenant, slug) => Effect.sync(() => servers.delete(rowOf(tenant, slug)))
    }))
)
