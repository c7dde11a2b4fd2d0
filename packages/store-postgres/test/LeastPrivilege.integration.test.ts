import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, describe, it } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import { Context, Effect, Layer, Option, Redacted } from "effect"
import * as Migrations from "../src/Migrations.ts"
import * as PostgresStore from "../src/PostgresStore.ts"
import { applicationRole } from "./internal/applicationRole.ts"
import { TestDatabase } from "./internal/realPostgres.ts"
import { newKey } from "./internal/rows.ts"

const read = (url: Redacted.Redacted) =>
  Effect.flatMap(ConnectionStore, (store) => store.get(newKey())).pipe(
    Effect.provide(PostgresStore.layer({ url, migrate: false }), { local: true })
  )

describe("the role of the application", () =>
  it.layer(TestDatabase.layer, { timeout: "60 seconds", excludeTestServices: true })((it) => {
    it.effect("DB-17 leaves an older schema alone and says that it is older", () =>
      Effect.provide(
        Effect.scoped(Effect.gen(function*() {
          const { sql, url } = yield* TestDatabase
          const app = yield* EmbeddedPostgres.applicationRole(url)
          const start = Effect.flip(Effect.scoped(Layer.build(PostgresStore.layer({ url: app }))))
          assert.strictEqual((yield* start).code, "schema_missing")
          const last = Migrations.all.length - 1
          yield* Migrations.apply({ url }, Migrations.all.slice(0, last))
          assert.strictEqual((yield* start).code, "schema_outdated")
          assert.strictEqual((yield* sql`SELECT id FROM valetkey_migrations`).length, last)
        })),
        TestDatabase.layer,
        { local: true }
      ))

    it.effect("DB-17 cannot change the schema that the migrator made, and sends nothing in the clear when TLS is to be verified", () =>
      Effect.scoped(Effect.gen(function*() {
        const app = yield* applicationRole
        assert.isTrue(Option.isNone(yield* read(app)))

        const client = yield* Layer.build(PgClient.layer({ url: app, maxConnections: 1 }))
        const session = Context.get(client, PgClient.PgClient)
        for (const statement of ["DROP TABLE connections", "ALTER TABLE connections ADD COLUMN more text"]) {
          assert.include(String((yield* Effect.flip(session.unsafe(statement))).reason.cause), "must be owner")
        }

        // This database offers no TLS.
        const verified = new URL(Redacted.value(app))
        verified.searchParams.set("sslmode", "verify-full")
        assert.strictEqual((yield* Effect.flip(read(Redacted.make(verified.href)))).code, "store_unavailable")
      })))
  }))
