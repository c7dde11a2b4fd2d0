import * as MemorySpool from "@valetkey/store-memory/MemorySpool"
import * as MemoryStore from "@valetkey/store-memory/MemoryStore"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import * as PostgresStore from "@valetkey/store-postgres/PostgresStore"
import * as SqliteStore from "@valetkey/store-sqlite/SqliteStore"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import { Effect, Layer, type Redacted, type Scope } from "effect"
import { join } from "node:path"
import type * as Installation from "./Installation.ts"
import * as TemporaryDirectory from "./TemporaryDirectory.ts"

/** PostgreSQL, with the spool beside it. */
export const postgres = (url: Redacted.Redacted) =>
  Layer.mergeAll(
    PostgresStore.layer({ url }),
    MemorySpool.layer.pipe(Layer.provide(MemoryWorld.layer))
  )

/** Makes the store ports; replicas share the state behind them where it can be shared. */
export type Store = () => Layer.Layer<Installation.Stores, unknown>

/** Stores by name; each use stands on a fresh one. */
export const stores: {
  readonly [name in "memory" | "SQLite" | "PostgreSQL"]: Effect.Effect<Store, never, Scope.Scope>
} = {
  memory: Effect.succeed(() => MemoryStore.layer),
  SQLite: Effect.map(
    TemporaryDirectory.make,
    (directory) => () => SqliteStore.layer({ path: join(directory, "valetkey.db") })
  ),
  PostgreSQL: Effect.map(EmbeddedPostgres.database, ({ url }) => () => postgres(url))
}
