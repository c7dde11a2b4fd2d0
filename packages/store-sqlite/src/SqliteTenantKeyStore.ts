import type { TenantId } from "@valetkey/domain/Tenant"
import { type TenantKey, TenantKeyStore } from "@valetkey/domain/TenantKeyStore"
import { Effect, Layer, Option } from "effect"
import { sealedOf } from "./internal/columns.ts"
import type { Session } from "./internal/openDatabase.ts"
import { SqliteDatabase } from "./SqliteDatabase.ts"

/** Layer of `TenantKeyStore` over the database. */
export const layer: Layer.Layer<TenantKeyStore, never, SqliteDatabase> = Layer.effect(
  TenantKeyStore,
  Effect.map(SqliteDatabase, (database) =>
    TenantKeyStore.of({
      find: (tenant) => database.read("find", (session) => Option.fromUndefinedOr(keyOf(session, tenant))),
      create: (tenant, { dataKey, id }) =>
        database.write("create", (session, now) => {
          session.run(
            `INSERT INTO tenant_keys (tenant, id, data_key, created_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`,
            tenant,
            id,
            dataKey,
            now
          )
          return keyOf(session, tenant)!
        })
    }))
)

const keyOf = (session: Session, tenant: TenantId): TenantKey | undefined => {
  const row = session.one<{ readonly id: number; readonly data_key: Uint8Array }>(
    "SELECT id, data_key FROM tenant_keys WHERE tenant = ?",
    tenant
  )
  return row && { id: row.id, dataKey: sealedOf(row.data_key) }
}
