import { Sealed } from "@valetkey/domain/Sealed"
import type { StoreError } from "@valetkey/domain/StoreError"
import { type TenantKey, TenantKeyStore } from "@valetkey/domain/TenantKeyStore"
import { Effect, Layer, Option, Schema } from "effect"
import { Database } from "./Database.ts"
import { storeError } from "./internal/failure.ts"

/** Layer of `TenantKeyStore` on the table `tenant_keys`. */
export const layer: Layer.Layer<TenantKeyStore, never, Database> = Layer.effect(
  TenantKeyStore,
  Effect.map(Database, (database) => {
    const find: TenantKeyStore["Service"]["find"] = (tenant) =>
      database.forTenant(tenant).read("TenantKeyStore.find", (sql) =>
        Effect.flatMap(
          sql`SELECT id::float8 AS id, data_key FROM tenant_keys WHERE tenant = ${tenant}`,
          ([row]) => row === undefined ? Effect.succeedNone : Effect.map(read("TenantKeyStore.find", row), Option.some)
        ))

    return TenantKeyStore.of({
      find,
      create: (tenant, { dataKey, id }) =>
        database.forTenant(tenant).transaction("TenantKeyStore.create", (sql) =>
          Effect.gen(function*() {
            yield* sql`INSERT INTO tenant_keys (tenant, id, data_key, created_at)
              VALUES (${tenant}, ${id}::bigint, ${dataKey}, clock_timestamp()) ON CONFLICT DO NOTHING`
            const [row] = yield* sql`SELECT id::float8 AS id, data_key FROM tenant_keys WHERE tenant = ${tenant}`
            return yield* read("TenantKeyStore.create", row)
          }))
    })
  })
)

const read = (operation: string, row: unknown): Effect.Effect<TenantKey, StoreError> =>
  Effect.mapError(decodeKey(row), (error) => storeError(operation, error))

const decodeKey = Schema.decodeUnknownEffect(Schema.Struct({ id: Schema.Natural, dataKey: Sealed }))
