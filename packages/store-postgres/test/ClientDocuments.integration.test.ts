import { assert, describe, it } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { RegistrationStore } from "@valetkey/domain/RegistrationStore"
import { Effect, Layer } from "effect"
import { Database } from "../src/Database.ts"
import * as Migrations from "../src/Migrations.ts"
import * as PostgresConnectionStore from "../src/PostgresConnectionStore.ts"
import * as PostgresRegistrationStore from "../src/PostgresRegistrationStore.ts"
import { applicationRole } from "./internal/applicationRole.ts"
import { TestDatabase } from "./internal/realPostgres.ts"
import { newKey, newWrite } from "./internal/rows.ts"

const idOf = (name: string) => `https://valetkey.example/oauth/context/${name}/client-metadata.json`

describe("client documents on record", () => {
  it.live("are those in use when the schema came to know of them, and nothing else that a client is called", () =>
    Effect.gen(function*() {
      const { sql, url } = yield* TestDatabase
      const before = Migrations.all.filter(({ id }) => id < 30)
      yield* Migrations.apply({ url }, before)
      const registered = (tenant: string, clientId: string, authMethod = "private_key_jwt") =>
        sql`INSERT INTO registrations (tenant, server, issuer, transport, client_id, auth_method, scopes, updated_at)
          VALUES (${tenant}, ${clientId.slice(-100)}, 'https://as.example', 'gateway', ${clientId}, ${authMethod}, '{}',
            now())`
      yield* registered("a", idOf("registered"))
      yield* registered("a", idOf("unsigned"), "none")
      yield* registered("a", "client-1")
      yield* registered("a", idOf("x".repeat(3000)))
      yield* registered("deleted", idOf("of-deleted"))
      yield* sql`INSERT INTO tenant_deletions (tenant, requested_at, quiet_at) VALUES ('deleted', now(), now())`
      yield* Effect.flatMap(ConnectionStore, (connections) => {
        const { grant, ...write } = newWrite(0)
        const signing = { ...grant, clientId: idOf("connected"), authMethod: "private_key_jwt" as const }
        return connections.deposit(newKey({ tenant: "b" }), { ...write, grant: signing })
      }).pipe(Effect.provide(
        PostgresConnectionStore.layer.pipe(Layer.provide(Database.layer({ url, maxConnections: 1 })))
      ))
      yield* Migrations.apply({ url })
      assert.deepStrictEqual(
        yield* sql`SELECT tenant, client_id AS id FROM client_documents ORDER BY tenant`,
        [{ tenant: "a", id: idOf("registered") }, { tenant: "b", id: idOf("connected") }]
      )
    }).pipe(Effect.provide(TestDatabase.layer, { local: true })))

  it.live("are found by their index, also by a role that row-level security applies to", () =>
    Effect.gen(function*() {
      const { sql } = yield* TestDatabase
      const app = yield* applicationRole
      yield* sql`INSERT INTO client_documents (tenant, client_id)
        SELECT 'tenant-' || n % 50, ${idOf("NNN")} || n FROM generate_series(1, 5000) AS n`
      yield* sql`ANALYZE client_documents`
      const scans = Effect.map(
        sql<{ whole: number; index: number }>`SELECT
            (SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'client_documents')::int AS whole,
            (SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'client_documents_id')::int AS index`,
        ([row]) => row!
      )
      yield* Effect.gen(function*() {
        const [registrations, database] = [yield* RegistrationStore, yield* Database]
        const looked = Effect.andThen(
          database.write("flush", (session) => session`SELECT pg_stat_force_next_flush()`),
          scans
        )
        const before = yield* looked
        // Often enough for a plan that is kept.
        for (let n = 1; n <= 7; n++) {
          assert.isTrue(yield* registrations.isOnRecord(`${idOf("NNN")}${n}`))
          assert.isFalse(yield* registrations.isOnRecord(idOf(`stranger-${n}`)))
        }
        assert.deepStrictEqual(yield* looked, { whole: before.whole, index: before.index + 14 })
      }).pipe(Effect.provide(
        PostgresRegistrationStore.layer.pipe(Layer.provideMerge(Database.layer({ url: app, maxConnections: 1 })))
      ))
    }).pipe(Effect.scoped, Effect.provide(TestDatabase.layer, { local: true })))
})
