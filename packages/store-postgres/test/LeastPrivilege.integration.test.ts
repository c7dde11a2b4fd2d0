import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, describe, it } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Context, Effect, Layer, Option, Redacted } from "effect"
import * as Migrations from "../src/Migrations.ts"
import * as PostgresStore from "../src/PostgresStore.ts"
import { TestDatabase } from "./internal/realPostgres.ts"
import { newKey } from "./internal/rows.ts"

/** The URL of a role that may change rows and nothing else, until the scope closes. */
const application = Effect.gen(function*() {
  const { sql, url } = yield* TestDatabase
  const [{ name } = { name: "" }] = yield* sql<{ name: string }>`SELECT current_database() AS name`
  const role = `rows_${name}`
  yield* Effect.acquireRelease(
    sql.unsafe(`CREATE ROLE ${role} LOGIN PASSWORD 'app'`),
    () => Effect.orDie(Effect.andThen(sql.unsafe(`DROP OWNED BY ${role}`), sql.unsafe(`DROP ROLE ${role}`)))
  )
  yield* sql.unsafe(`GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ${role}`)
  yield* sql.unsafe(`GRANT USAGE ON SCHEMA test_clock TO ${role}`)
  yield* sql.unsafe(`GRANT SELECT ON test_clock.shift TO ${role}`)
  const app = new URL(Redacted.value(url))
  app.username = role
  app.password = "app"
  return app
})

const read = (url: URL) =>
  Effect.flatMap(ConnectionStore, (store) => store.get(newKey())).pipe(
    Effect.provide(PostgresStore.layer({ url: Redacted.make(url.href), migrate: false }), { local: true })
  )

describe("the role of the application", () =>
  it.layer(TestDatabase.layer, { timeout: "60 seconds", excludeTestServices: true })((it) => {
    it.effect("DB-17 cannot change the schema that the migrator made, and sends nothing in the clear when TLS is to be verified", () =>
      Effect.scoped(Effect.gen(function*() {
        const { url } = yield* TestDatabase
        yield* Migrations.apply({ url })
        const app = yield* application
        assert.isTrue(Option.isNone(yield* read(app)))

        const client = yield* Layer.build(PgClient.layer({ url: Redacted.make(app.href), maxConnections: 1 }))
        const session = Context.get(client, PgClient.PgClient)
        for (const statement of ["DROP TABLE connections", "ALTER TABLE connections ADD COLUMN more text"]) {
          assert.include(String((yield* Effect.flip(session.unsafe(statement))).reason.cause), "must be owner")
        }

        // This database offers no TLS.
        const verified = new URL(app)
        verified.searchParams.set("sslmode", "verify-full")
        assert.strictEqual((yield* Effect.flip(read(verified))).code, "store_unavailable")
      })))
  }))
