import type { Home } from "@valetkey/client/Home"
import { PostgresHealth } from "@valetkey/store-postgres/PostgresHealth"
import * as PostgresStore from "@valetkey/store-postgres/PostgresStore"
import { Effect, Layer, type Redacted } from "effect"
import * as ReplicaSpool from "./ReplicaSpool.ts"
import { StoreHealth } from "./StoreHealth.ts"

const layerHealth = Layer.effect(
  StoreHealth,
  Effect.map(PostgresHealth, ({ check }) =>
    StoreHealth.of({
      check: Effect.map(
        check,
        (found) => found._tag === "Ready" ? { ok: true, reason: "ok" } : { ok: false, reason: found.reason }
      )
    }))
)

/** Layer of every store port on a database that replicas share, and of this replica's own spool. */
export const layer = (options: { readonly databaseUrl: Redacted.Redacted; readonly home: Home }) =>
  Layer.provideMerge(
    layerHealth,
    Layer.merge(PostgresStore.layer({ url: options.databaseUrl }), ReplicaSpool.layer(options.home))
  )
