import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Database } from "../src/Database.ts"
import * as Migrations from "../src/Migrations.ts"
import { PostgresHealth } from "../src/PostgresHealth.ts"
import { TestDatabase } from "./internal/realPostgres.ts"

/** Asks a fresh probe, whose sessions see the settings of now. */
const check = Effect.gen(function*() {
  const { url } = yield* TestDatabase
  return yield* Effect.flatMap(PostgresHealth, (health) => health.check).pipe(
    Effect.provide(PostgresHealth.layer.pipe(Layer.provide(Database.layer({ url }))), { local: true })
  )
})

describe("PostgresHealth", () =>
  it.layer(TestDatabase.layer, { timeout: "60 seconds", excludeTestServices: true })((it) => {
    it.effect("says what is wrong with the schema until it is right", () =>
      Effect.gen(function*() {
        const { sql, url } = yield* TestDatabase
        assert.deepStrictEqual(yield* check, { _tag: "NotReady", reason: "schema_missing" })
        yield* Migrations.apply({ url })
        assert.deepStrictEqual(yield* check, { _tag: "Ready" })
        const last = Migrations.all.at(-1)!
        yield* sql`UPDATE valetkey_migrations SET checksum = 'edited' WHERE id = ${last.id}`
        assert.deepStrictEqual(yield* check, { _tag: "NotReady", reason: "schema_changed" })
        yield* sql`DELETE FROM valetkey_migrations WHERE id = ${last.id}`
        assert.deepStrictEqual(yield* check, { _tag: "NotReady", reason: "schema_outdated" })
        // A newer version's own migration takes nothing away, and makes up for nothing.
        yield* sql`INSERT INTO valetkey_migrations (id, name, checksum) VALUES (999, 'future', 'x')`
        assert.deepStrictEqual(yield* check, { _tag: "NotReady", reason: "schema_outdated" })
        yield* sql`INSERT INTO valetkey_migrations (id, name, checksum)
          VALUES (${last.id}, ${last.name}, ${Migrations.checksum(last)})`
        assert.deepStrictEqual(yield* check, { _tag: "Ready" })
        yield* sql`DELETE FROM valetkey_migrations WHERE id = 999`
      }))

    it.effect("DB-07 is not ready on a database that may forget what it committed", () =>
      Effect.gen(function*() {
        const { sql, url } = yield* TestDatabase
        yield* Migrations.apply({ url })
        const [{ name } = { name: "" }] = yield* sql<{ name: string }>`SELECT current_database() AS name`
        yield* sql`ALTER DATABASE ${sql(name)} SET synchronous_commit = off`
        assert.deepStrictEqual(yield* check, { _tag: "NotReady", reason: "commits_not_durable" })
        yield* sql`ALTER DATABASE ${sql(name)} RESET synchronous_commit`
      }))

    it.effect("is not ready on a database that takes no writes", () =>
      Effect.gen(function*() {
        const { sql, url } = yield* TestDatabase
        yield* Migrations.apply({ url })
        const [{ name } = { name: "" }] = yield* sql<{ name: string }>`SELECT current_database() AS name`
        yield* sql`ALTER DATABASE ${sql(name)} SET default_transaction_read_only = on`
        assert.deepStrictEqual(yield* check, { _tag: "NotReady", reason: "database_read_only" })
        yield* sql`ALTER DATABASE ${sql(name)} RESET default_transaction_read_only`
      }))
  }))
