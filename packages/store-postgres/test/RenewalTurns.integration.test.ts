import { assert, describe, it } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { RenewalPlans } from "@valetkey/domain/RenewalPlans"
import { Duration, Effect, Layer } from "effect"
import * as PostgresStore from "../src/PostgresStore.ts"
import { TestDatabase } from "./internal/realPostgres.ts"
import { newKey, newWrite } from "./internal/rows.ts"

const layer = Layer.unwrap(Effect.map(TestDatabase, ({ url }) => PostgresStore.layer({ url }))).pipe(
  Layer.provideMerge(TestDatabase.layer)
)

describe("a tenant with thousands of due connections", () => {
  it.live("REF-21 keeps nobody waiting who is due now, and has its turns meanwhile", () =>
    Effect.gen(function*() {
      const { sql } = yield* TestDatabase
      const plans = yield* RenewalPlans
      const loud = newKey()
      yield* (yield* ConnectionStore).deposit(loud, newWrite(0))
      yield* sql`INSERT INTO connections SELECT (jsonb_populate_record(connections, jsonb_build_object(
          'subject', 'person-' || number, 'renew_at', clock_timestamp() - number * interval '1 second'))).*
        FROM connections, generate_series(1, 3000) AS number WHERE tenant = ${loud.tenant}`
      const quiet = newKey()
      yield* (yield* ConnectionStore).deposit(quiet, newWrite(0))
      yield* sql`UPDATE connections SET renew_at = clock_timestamp() WHERE tenant = ${quiet.tenant}`
      const taken = yield* plans.take({ limit: 8, lease: Duration.minutes(1) })
      const tenants = taken.map(({ connection }) => connection.key.tenant)
      assert.strictEqual(tenants.filter((tenant) => tenant === quiet.tenant).length, 1)
      assert.strictEqual(tenants.filter((tenant) => tenant === loud.tenant).length, 7)
      // Its longest due ones first.
      const subjects = taken.filter(({ connection }) => connection.key.tenant === loud.tenant)
        .map(({ connection }) => connection.key.subject).sort()
      assert.deepStrictEqual([...subjects], Array.from({ length: 7 }, (_, index) => `person-${2994 + index}`))
    }).pipe(Effect.provide(layer)))

  it.live("REF-21 waits for nobody who holds a row", () =>
    Effect.gen(function*() {
      const { sql } = yield* TestDatabase
      const plans = yield* RenewalPlans
      const [held, free] = [newKey(), newKey()]
      for (const key of [held, free]) {
        yield* (yield* ConnectionStore).deposit(key, newWrite(0))
        yield* sql`UPDATE connections SET renew_at = clock_timestamp() WHERE tenant = ${key.tenant}`
      }
      const take = Effect.map(
        plans.take({ limit: 10_000, lease: Duration.minutes(1) }),
        (taken) =>
          taken.map(({ connection }) => connection.key.path).filter((path) => path === held.path || path === free.path)
      )
      yield* sql.withTransaction(Effect.gen(function*() {
        yield* sql`SELECT FROM connections WHERE tenant = ${held.tenant} FOR UPDATE`
        assert.deepStrictEqual(yield* take, [free.path])
      }))
      assert.deepStrictEqual(yield* take, [held.path])
    }).pipe(Effect.provide(layer)))
})
