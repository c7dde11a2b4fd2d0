import { assert, describe, it } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Effect, Exit, Layer, Redacted } from "effect"
import * as Migrations from "../src/Migrations.ts"
import * as PostgresStore from "../src/PostgresStore.ts"
import { TestDatabase } from "./internal/realPostgres.ts"
import { newKey, newWrite } from "./internal/rows.ts"

const applied = Effect.flatMap(
  TestDatabase,
  ({ sql }) =>
    sql<{ id: number; name: string; checksum: string }>`SELECT id, name, checksum FROM valetkey_migrations ORDER BY id`
)

const expected = Migrations.all.map((migration) => ({
  id: migration.id,
  name: migration.name,
  checksum: Migrations.checksum(migration)
}))

const tables = Effect.flatMap(TestDatabase, ({ sql }) =>
  Effect.map(
    sql<{ name: string }>`SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'
      ORDER BY table_name`,
    (rows) => rows.map(({ name }) => name)
  ))

/** Every case has an empty database. */
const onEmpty = <A, E>(use: Effect.Effect<A, E, TestDatabase>) =>
  Effect.provide(use, TestDatabase.layer, { local: true })

const failing: Migrations.Migration = {
  id: 998,
  name: "failing",
  statements: ["CREATE TABLE half_done (id integer)", "ALTER TABLE nowhere ADD COLUMN canary_value_4711 integer"]
}

describe("Migrations", () => {
  it("S3.16 keeps the statements of every released migration", () => {
    assert.deepStrictEqual(expected.slice(0, 1).map(({ checksum, id }) => [id, checksum]), [
      [1, "9a867aa90ecc8fb1f41d76ad976a956759b76e993139115ba3a8d220e308cede"]
    ])
  })

  it.live("S3.1 S3.12 creates the tables on a fresh database, with tenant first in every primary key", () =>
    onEmpty(Effect.gen(function*() {
      const { sql, url } = yield* TestDatabase
      yield* Migrations.apply({ url })
      assert.includeMembers([...yield* tables], [
        "api_keys",
        "audit",
        "audit_heads",
        "connections",
        "flows",
        "instance",
        "registrations",
        "revocations",
        "servers",
        "valetkey_migrations"
      ])
      const keys = yield* sql<{ table: string; column: string }>`
        SELECT table_name AS table, column_name AS column FROM information_schema.key_column_usage
        WHERE ordinal_position = 1 AND table_schema = 'public' AND constraint_name LIKE '%_pkey'
          AND table_name NOT IN ('valetkey_migrations', 'root_keys', 'instance', 'redemption_slots')`
      assert.deepStrictEqual(keys.filter(({ column }) => column !== "tenant"), [])
      assert.isAtLeast(keys.length, 6)
      const expiry = yield* sql<{ type: string }>`SELECT data_type AS type FROM information_schema.columns
        WHERE table_name = 'registrations' AND column_name = 'client_secret_expires_at'`
      assert.deepStrictEqual(expiry, [{ type: "timestamp with time zone" }])
    })))

  it.live("S3.2 runs at every start and applies once", () =>
    onEmpty(Effect.gen(function*() {
      const { url } = yield* TestDatabase
      yield* Effect.scoped(Layer.build(PostgresStore.layer({ url })))
      yield* Effect.scoped(Layer.build(PostgresStore.layer({ url })))
      assert.deepStrictEqual(yield* applied, expected)
    })))

  it.live("S3x.15 DB-12 lets eight replicas start together on an empty database", () =>
    onEmpty(Effect.gen(function*() {
      const { url } = yield* TestDatabase
      const starts = Array.from({ length: 8 }, () =>
        Effect.exit(Effect.scoped(Layer.build(Layer.fresh(PostgresStore.layer({ url, maxConnections: 2 }))))))
      const exits = yield* Effect.all(starts, { concurrency: "unbounded" })
      assert.strictEqual(exits.filter(Exit.isSuccess).length, 8)
      assert.deepStrictEqual(yield* applied, expected)
    })))

  it.live("DB-13 S3x.16 rolls a failing migration back whole, says which, and resumes when it is mended", () =>
    onEmpty(Effect.gen(function*() {
      const { url } = yield* TestDatabase
      const error = yield* Effect.flip(Migrations.apply({ url }, [...Migrations.all, failing]))
      assert.strictEqual(error.code, "migration_failed")
      assert.include(error.message, "0998_failing")
      assert.include(String(error.cause), "42P01")
      assert.notInclude(String(error.cause), "canary_value_4711")
      assert.deepStrictEqual(yield* tables, [])
      const mended = { ...failing, statements: ["CREATE TABLE half_done (id integer)"] }
      yield* Migrations.apply({ url }, [...Migrations.all, mended])
      assert.include(yield* tables, "half_done")
    })))

  it.live("refuses to start on a database that a newer version migrated", () =>
    onEmpty(Effect.gen(function*() {
      const { sql, url } = yield* TestDatabase
      yield* Migrations.apply({ url })
      yield* sql`INSERT INTO valetkey_migrations (id, name, checksum) VALUES (999, 'future', 'x')`
      for (const migrate of [true, false]) {
        const error = yield* Effect.flip(Effect.scoped(Layer.build(PostgresStore.layer({ url, migrate }))))
        assert.strictEqual(error.code, "schema_newer")
        assert.include(error.message, "0999_future")
      }
    })))

  it.live("S3.16 refuses a database that other statements made", () =>
    onEmpty(Effect.gen(function*() {
      const { sql, url } = yield* TestDatabase
      yield* Migrations.apply({ url })
      yield* sql`UPDATE valetkey_migrations SET checksum = 'edited' WHERE id = 1`
      assert.strictEqual((yield* Effect.flip(Migrations.apply({ url }))).code, "schema_changed")
    })))

  it.live("without migrate refuses an empty and an older database and changes nothing", () =>
    onEmpty(Effect.gen(function*() {
      const { sql, url } = yield* TestDatabase
      const start = Effect.flip(Effect.scoped(Layer.build(PostgresStore.layer({ url, migrate: false }))))
      assert.strictEqual((yield* start).code, "schema_missing")
      assert.deepStrictEqual(yield* tables, [])
      yield* Migrations.apply({ url })
      const later = { ...failing, statements: [] }
      const error = yield* Effect.flip(Migrations.verify(sql, [...Migrations.all, later]))
      assert.strictEqual(error._tag === "MigrationError" && error.code, "schema_outdated")
    })))

  it.live("serves with a role that may not change the schema", () =>
    onEmpty(Effect.gen(function*() {
      const { sql, url } = yield* TestDatabase
      yield* Migrations.apply({ url })
      const [{ name } = { name: "" }] = yield* sql<{ name: string }>`SELECT current_database() AS name`
      const role = `app_${name}`
      yield* sql.unsafe(`CREATE ROLE ${role} LOGIN PASSWORD 'app'`)
      yield* Effect.gen(function*() {
        yield* sql.unsafe(`GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ${role}`)
        yield* sql.unsafe(`GRANT USAGE ON SCHEMA test_clock TO ${role}`)
        yield* sql.unsafe(`GRANT SELECT ON test_clock.shift TO ${role}`)
        const app = new URL(Redacted.value(url))
        app.username = role
        app.password = "app"
        for (const migrate of [true, false]) {
          const store = PostgresStore.layer({ url: Redacted.make(app.href), migrate })
          const key = newKey()
          const deposited = Effect.flatMap(ConnectionStore, (store) => store.deposit(key, newWrite(0)))
          assert.isTrue(yield* Effect.provide(deposited, store, { local: true }))
        }
      }).pipe(Effect.ensuring(Effect.orDie(Effect.andThen(
        sql.unsafe(`DROP OWNED BY ${role}`),
        sql.unsafe(`DROP ROLE ${role}`)
      ))))
    })))

  it.live("S3.3 S3.4 S3.10 lets the database itself refuse a second row, and a grant without token endpoint", () =>
    onEmpty(Effect.gen(function*() {
      const { sql, url } = yield* TestDatabase
      yield* Migrations.apply({ url })
      const insert = (grant: unknown) =>
        sql`INSERT INTO connections (tenant, subject, server, epoch, generation, "grant", access_token, token_type,
          issued_at, created_at, updated_at) VALUES ('t', 's', 'x', 'e', 1, ${sql.json(grant)}, '\\x00', 'Bearer',
          now(), now(), now())`
      const refused = yield* Effect.flip(insert({ clientId: "c" }))
      assert.strictEqual(constraintOf(refused), "connections_grant")
      yield* insert({ clientId: "c", tokenEndpoint: "https://as.example/token" })
      const second = yield* Effect.flip(insert({ clientId: "c", tokenEndpoint: "https://as.example/token" }))
      assert.strictEqual(constraintOf(second), "connections_pkey")
    })))
})

const constraintOf = (error: { readonly reason: { readonly cause: unknown } }): unknown =>
  (error.reason.cause as { readonly constraint?: unknown }).constraint
