import { assert, describe, it } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import * as Instruments from "@valetkey/domain/Instruments"
import { RenewalPlans } from "@valetkey/domain/RenewalPlans"
import { Duration, Effect, Layer, Metric, Option } from "effect"
import * as PostgresStore from "../src/PostgresStore.ts"
import { applicationRole } from "./internal/applicationRole.ts"
import { advance, TestDatabase } from "./internal/realPostgres.ts"
import { newKey, newWrite } from "./internal/rows.ts"

/** As a role that row-level security applies to: what fails inside of its transaction undoes the round. */
const layer = Layer.unwrap(Effect.map(applicationRole, (url) => PostgresStore.layer({ url, migrate: false }))).pipe(
  Layer.provideMerge(TestDatabase.layer)
)

const deposit = Effect.gen(function*() {
  const key = newKey()
  yield* (yield* ConnectionStore).deposit(key, newWrite(0))
  return key
})

describe("a connection that cannot be read", () => {
  it.live("REF-21 is not renewed, told and counted, and those of other tenants go on", () =>
    Effect.gen(function*() {
      const { sql } = yield* TestDatabase
      const plans = yield* RenewalPlans
      const [damaged, whole, lost] = [yield* deposit, yield* deposit, yield* deposit]
      yield* sql`UPDATE connections SET "grant" = '{"tokenEndpoint": "nowhere", "clientId": ""}'
        WHERE tenant = ${damaged.tenant}`
      // A row in a state that no operation leaves behind.
      yield* sql`ALTER TABLE connections DROP CONSTRAINT connections_access_token`
      yield* sql`UPDATE connections SET access_token = NULL, phase = 'sent', lease_until = 'infinity', attempts = 99
        WHERE tenant = ${lost.tenant}`
      yield* advance(Duration.minutes(2))
      const take = Effect.map(
        plans.take({ limit: 10, lease: Duration.minutes(1) }),
        (taken) => taken.map(({ connection }) => connection.key.path)
      )
      assert.deepStrictEqual([...yield* take].sort(), [whole.path, lost.path].sort())
      assert.deepStrictEqual(yield* take, [])
      assert.strictEqual((yield* Metric.value(Instruments.rowPutAside("connections"))).count, 1)
    }).pipe(Effect.provide(layer)))

  it.live("REF-21 with a time that has no date is told to be damaged, whichever column it is", () =>
    Effect.gen(function*() {
      const { sql } = yield* TestDatabase
      const connections = yield* ConnectionStore
      for (
        const column of ["issued_at", "expires_at", "refresh_expires_at", "granted_at", "created_at", "updated_at"]
      ) {
        const key = yield* deposit
        assert.isTrue(Option.isSome(yield* connections.get(key)))
        yield* sql`UPDATE connections SET ${sql(column)} = 'infinity' WHERE tenant = ${key.tenant}`
        assert.strictEqual((yield* Effect.flip(connections.get(key))).code, "store_corrupt", column)
      }
    }).pipe(Effect.provide(layer)))
})
