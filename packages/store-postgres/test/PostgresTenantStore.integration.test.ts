import { assert, describe, it } from "@effect/vitest"
import { Epoch } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { Sealed } from "@valetkey/domain/Sealed"
import type { StoreError } from "@valetkey/domain/StoreError"
import { TenantKeyStore } from "@valetkey/domain/TenantKeyStore"
import { TenantStore } from "@valetkey/domain/TenantStore"
import { Duration, Effect, Fiber, Latch, Layer, Option } from "effect"
import { tenantLock } from "../src/internal/migration9.ts"
import * as PostgresStore from "../src/PostgresStore.ts"
import { TestDatabase } from "./internal/realPostgres.ts"
import { newKey, newWrite } from "./internal/rows.ts"

const layer = Layer.unwrap(Effect.map(TestDatabase, ({ url }) => PostgresStore.layer({ url }))).pipe(
  Layer.provideMerge(TestDatabase.layer)
)

const { grant } = newWrite(0)

describe("PostgresTenantStore", () =>
  it.layer(layer, { timeout: "60 seconds", excludeTestServices: true })((it) => {
    it.effect("LIFE-02 makes no tombstone while a row that somebody was changing is left", () =>
      Effect.gen(function*() {
        const { sql } = yield* TestDatabase
        const tenants = yield* TenantStore
        const key = newKey()
        const { tenant } = key
        yield* (yield* RevocationOutbox).enqueue({
          id: "owed",
          key,
          grant
        })
        yield* tenants.begin(tenant)
        const [changed, commit] = [yield* Latch.make(), yield* Latch.make()]
        const changing = yield* Effect.forkChild(sql.withTransaction(Effect.gen(function*() {
          yield* sql`UPDATE revocations SET attempts = attempts + 1 WHERE tenant = ${tenant}`
          yield* changed.open
          yield* commit.await
        })))
        yield* changed.await
        const erasing = yield* Effect.forkChild(tenants.erase(tenant, { patience: Duration.zero, limit: 100 }))
        yield* Effect.repeat(
          sql<{ waiting: number }>`SELECT count(*)::int AS waiting FROM pg_locks WHERE NOT granted`,
          { until: ([row]) => row!.waiting > 0 }
        )
        yield* commit.open
        yield* Fiber.join(changing)
        assert.strictEqual(yield* Fiber.join(erasing), "more")
        assert.strictEqual(yield* tenants.erase(tenant, { patience: Duration.zero, limit: 100 }), "deleted")
        assert.lengthOf(yield* sql`SELECT id FROM revocations WHERE tenant = ${tenant}`, 0)
      }))

    it.effect("LIFE-02 tells whoever meets a step of a deletion to come again, and not that the tenant is gone", () =>
      Effect.gen(function*() {
        const { sql } = yield* TestDatabase
        const connections = yield* ConnectionStore
        const key = newKey()
        const { tenant } = key
        yield* connections.deposit(key, newWrite(0))
        const writes: ReadonlyArray<Effect.Effect<unknown, StoreError>> = [
          (yield* RevocationOutbox).enqueue({ id: `late ${tenant}`, key, grant }),
          connections.disconnect(key, Epoch.make("next")),
          (yield* TenantKeyStore).create(tenant, { id: 1, dataKey: Sealed.make(new Uint8Array(48)) })
        ]
        const met = yield* sql.withTransaction(Effect.gen(function*() {
          yield* sql`SELECT pg_advisory_xact_lock(${sql.literal(tenantLock("key.tenant"))})
            FROM (SELECT ${tenant}::text AS tenant) AS key`
          return yield* Effect.forEach(writes, (write) => Effect.map(Effect.flip(write), ({ code }) => code))
        }))
        assert.deepStrictEqual(met, ["store_unavailable", "store_unavailable", "store_unavailable"])
        yield* Effect.all(writes)
        const [row] = yield* sql`SELECT count(*)::int AS owed FROM revocations WHERE tenant = ${tenant}`
        assert.deepStrictEqual(row, { owed: 2 })
      }))

    it.effect("LIFE-02 keeps nobody from writing while a deletion waits", () =>
      Effect.gen(function*() {
        const { sql } = yield* TestDatabase
        const tenants = yield* TenantStore
        const key = newKey()
        const { tenant } = key
        yield* (yield* RevocationOutbox).enqueue({ id: `owed ${tenant}`, key, grant })
        yield* tenants.begin(tenant)
        // Whoever writes shares the lock; a step that wanted it alone would wait for this transaction.
        const outcome = yield* sql.withTransaction(Effect.gen(function*() {
          yield* sql`SELECT pg_advisory_xact_lock_shared(${sql.literal(tenantLock("key.tenant"))})
            FROM (SELECT ${tenant}::text AS tenant) AS key`
          return yield* tenants.erase(tenant, { patience: Duration.hours(1), limit: 100 })
        }))
        assert.strictEqual(outcome, "waiting")
      }))

    it.effect("LIFE-02 goes on with a mark that did not reach every connection", () =>
      Effect.gen(function*() {
        const { sql } = yield* TestDatabase
        const connections = yield* ConnectionStore
        const tenants = yield* TenantStore
        const key = newKey()
        yield* connections.deposit(key, newWrite(0))
        yield* sql`INSERT INTO tenant_deletions (tenant, requested_at, quiet_at)
          VALUES (${key.tenant}, clock_timestamp(), clock_timestamp())`
        assert.deepStrictEqual(yield* tenants.begin(key.tenant), [])
        const found = yield* connections.get(key)
        assert.strictEqual(Option.getOrThrow(found).status._tag, "quarantined")
      }))

    it.effect("finds deletions that are not finished without reading the tombstones", () =>
      Effect.gen(function*() {
        const { sql } = yield* TestDatabase
        const plan = yield* sql.withTransaction(Effect.gen(function*() {
          yield* sql`SET LOCAL enable_seqscan = off`
          return yield* sql`EXPLAIN SELECT tenant FROM tenant_deletions WHERE deleted_at IS NULL ORDER BY requested_at`
        }))
        assert.include(JSON.stringify(plan), "tenant_deletions_unfinished")
      }))
  }))
