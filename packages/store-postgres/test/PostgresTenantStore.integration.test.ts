import { assert, describe, it } from "@effect/vitest"
import { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { TenantStore } from "@valetkey/domain/TenantStore"
import { Duration, Effect, Fiber, Latch, Layer } from "effect"
import * as PostgresStore from "../src/PostgresStore.ts"
import { TestDatabase } from "./internal/realPostgres.ts"
import { newKey } from "./internal/rows.ts"

const layer = Layer.unwrap(Effect.map(TestDatabase, ({ url }) => PostgresStore.layer({ url }))).pipe(
  Layer.provideMerge(TestDatabase.layer)
)

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
          grant: {
            issuer: "https://as.example",
            tokenEndpoint: "https://as.example/token",
            clientId: "client",
            authMethod: "none",
            redemptionPolicy: "strict"
          }
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
  }))
