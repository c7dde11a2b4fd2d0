import { assert, describe, it } from "@effect/vitest"
import { AuditLog } from "@valetkey/domain/AuditLog"
import { AuditTrail } from "@valetkey/domain/AuditTrail"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Fingerprints } from "@valetkey/domain/Fingerprints"
import * as RollbackAlarm from "@valetkey/domain/RollbackAlarm"
import { Effect, Layer, Option } from "effect"
import * as PostgresStore from "../src/PostgresStore.ts"
import { TestDatabase } from "./internal/realPostgres.ts"
import { newKey, newWrite } from "./internal/rows.ts"

const layer = RollbackAlarm.layer().pipe(
  Layer.provideMerge(AuditTrail.layer()),
  Layer.provideMerge(Layer.unwrap(Effect.map(TestDatabase, ({ url }) => PostgresStore.layer({ url })))),
  Layer.provide(Layer.succeed(Fingerprints)({ of: () => Effect.succeed("1:00") })),
  Layer.provideMerge(TestDatabase.layer)
)

describe("a row that goes back on a live process", () => {
  it.live("CRY-10 raises the alarm once, whoever wrote the newer row", () =>
    Effect.gen(function*() {
      const { sql } = yield* TestDatabase
      const [store, log] = [yield* ConnectionStore, yield* AuditLog]
      const key = newKey()
      const generation = Effect.map(store.get(key), (found) => Option.getOrThrow(found).generation as number)
      const alarms = Effect.map(
        log.read({ tenant: key.tenant, after: 0, limit: 100 }),
        (events) => events.filter(({ action }) => action === "connection.rolled_back").map((event) => event.generation)
      )
      yield* store.deposit(key, newWrite(0))
      yield* sql`CREATE TABLE stolen AS SELECT * FROM connections WHERE tenant = ${key.tenant}`
      yield* store.deposit(key, newWrite(1))
      assert.strictEqual(yield* generation, 2)
      assert.deepStrictEqual(yield* alarms, [])
      yield* sql`DELETE FROM connections WHERE tenant = ${key.tenant}`
      yield* sql`INSERT INTO connections SELECT * FROM stolen`
      assert.strictEqual(yield* generation, 1)
      assert.strictEqual(yield* generation, 1)
      assert.deepStrictEqual(yield* alarms, [1])
    }).pipe(Effect.provide(layer)))
})
