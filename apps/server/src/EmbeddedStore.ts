import { SqliteDatabase } from "@valetkey/store-sqlite/SqliteDatabase"
import * as SqliteStore from "@valetkey/store-sqlite/SqliteStore"
import { Effect, Layer } from "effect"
import { StoreHealth } from "./StoreHealth.ts"

const layerHealth = Layer.effect(
  StoreHealth,
  Effect.map(SqliteDatabase, (database) =>
    StoreHealth.of({
      check: database.read("StoreHealth.check", (session) => session.all("SELECT 1")).pipe(
        Effect.as({ ok: true, reason: "ok" }),
        Effect.catchTag("StoreError", (error) => Effect.succeed({ ok: false, reason: error.code }))
      )
    }))
)

/** Layer of every store port on a file of this process. */
export const layer = (options: { readonly path: string }) => Layer.provideMerge(layerHealth, SqliteStore.layer(options))
