import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect, Layer, Redacted, type Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { randomUUID } from "node:crypto"
import { Database } from "../src/Database.ts"
import * as Migrations from "../src/Migrations.ts"
import { applicationRole } from "./internal/applicationRole.ts"
import { TestDatabase } from "./internal/realPostgres.ts"

/** A database with a row of two tenants in every table that has tenants, and a role that row-level security applies to. */
class Tenants extends Context.Service<Tenants, {
  readonly app: Redacted.Redacted
  readonly mine: string
  readonly theirs: string
  readonly tables: ReadonlyArray<string>
}>()("test/Tenants") {
  static readonly layer = Layer.effect(
    Tenants,
    Effect.gen(function*() {
      const { sql } = yield* TestDatabase
      const app = yield* applicationRole
      // Tenants may be called what the settings are called.
      const [mine, theirs] = ["on", "*"]
      const tables = yield* tablesWithTenant
      for (const table of tables) {
        yield* loosen(table)
        for (const tenant of [mine, theirs]) yield* fill(sql, table, tenant)
      }
      return { app, mine, theirs, tables }
    })
  ).pipe(Layer.provideMerge(TestDatabase.layer))
}

const tablesWithTenant = Effect.flatMap(TestDatabase, ({ sql }) =>
  Effect.map(
    sql<{ name: string }>`SELECT table_name AS name FROM information_schema.columns
      WHERE table_schema = 'public' AND column_name = 'tenant' ORDER BY table_name`,
    (rows) => rows.map(({ name }) => name)
  ))

/** The tables with a tenant that a query without one would find rows in, or could write rows of any tenant to. */
const unguarded = Effect.flatMap(TestDatabase, ({ sql }) =>
  Effect.map(
    sql<{ name: string }>`SELECT relname AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace
      AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = pg_class.oid AND attname = 'tenant' AND NOT attisdropped)
      AND relkind IN ('r', 'p') AND NOT (relrowsecurity AND EXISTS (
        SELECT FROM pg_policy WHERE polrelid = pg_class.oid AND polcmd = '*' AND polpermissive
          AND polqual IS NOT NULL AND polwithcheck IS NOT NULL
      ))`,
    (rows) => rows.map(({ name }) => name)
  ))

/** Lets any row in: what is proved here holds whatever a row says. */
const loosen = Effect.fnUntraced(function*(table: string) {
  const { sql } = yield* TestDatabase
  const checks = yield* sql<{ name: string }>`SELECT conname AS name FROM pg_constraint
    WHERE conrelid = ${table}::regclass AND contype = 'c'`
  for (const { name } of checks) yield* sql`ALTER TABLE ${sql(table)} DROP CONSTRAINT ${sql(name)}`
  yield* sql`ALTER TABLE ${sql(table)} DISABLE TRIGGER USER`
})

const fillers: Readonly<Record<string, string>> = {
  text: "gen_random_uuid()::text",
  int4: "1",
  int8: "floor(random() * 1e9)::bigint",
  bool: "true",
  bytea: "'\\x00'::bytea",
  jsonb: "'{}'::jsonb",
  timestamptz: "now()",
  _text: "'{}'::text[]"
}

/** Inserts a row of a tenant with something in every column that must have a value. */
const fill = Effect.fnUntraced(function*(sql: PgClient.PgClient, table: string, tenant: string) {
  const columns = yield* sql<{ name: string; type: string }>`SELECT column_name AS name, udt_name AS type
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name = ${table}
      AND is_nullable = 'NO' AND column_default IS NULL AND column_name <> 'tenant'`
  yield* sql.unsafe(
    `INSERT INTO ${table} (${["tenant", ...columns.map(({ name }) => `"${name}"`)].join(", ")})
      VALUES (${["$1", ...columns.map(({ type }) => fillers[type])].join(", ")})`,
    [tenant]
  )
})

/** One session of the role: what a transaction leaves in it would be seen by the next. */
const session = Effect.gen(function*() {
  const { app } = yield* Tenants
  const context = yield* Layer.build(PgClient.layer({ url: app, maxConnections: 1 }))
  const sql = Context.get(context, PgClient.PgClient)
  return {
    sql,
    as: <A, E>(tenant: string, work: Effect.Effect<A, E>) =>
      sql.withTransaction(Effect.andThen(sql`SELECT set_config('valetkey.tenant', ${tenant}, true)`, work)),
    tenantsIn: (table: string) =>
      Effect.map(
        sql<{ tenant: string }>`SELECT tenant FROM ${sql(table)} ORDER BY tenant`,
        (rows) => rows.map(({ tenant }) => tenant)
      )
  }
})

const refused = <A>(statement: Effect.Effect<A, SqlError>) =>
  Effect.map(Effect.flip(statement), ({ reason }) => assert.include(String(reason.cause), "row-level security policy"))

const database = (url: Redacted.Redacted): Effect.Effect<Database["Service"], never, Scope.Scope> =>
  Effect.map(Layer.build(Database.layer({ url, maxConnections: 1 })), Context.get(Database))

describe("row-level security", () => {
  it.live("I10 guards every table that has tenants, and would tell of one that is forgotten", () =>
    Effect.provide(
      Effect.gen(function*() {
        const { sql, url } = yield* TestDatabase
        yield* Migrations.apply({ url })
        assert.includeMembers([...yield* tablesWithTenant], ["audit", "connections", "flows", "revocations", "servers"])
        assert.deepStrictEqual(yield* unguarded, [])
        yield* sql`CREATE TABLE forgotten (tenant text NOT NULL)`
        assert.deepStrictEqual(yield* unguarded, ["forgotten"])
        yield* sql`ALTER TABLE forgotten ENABLE ROW LEVEL SECURITY`
        assert.deepStrictEqual(yield* unguarded, ["forgotten"])
      }),
      TestDatabase.layer,
      { local: true }
    ))

  it.layer(Tenants.layer, { timeout: "60 seconds", excludeTestServices: true })((it) => {
    it.effect("I10 I26 shows and changes nothing while nobody says whose rows are meant", () =>
      Effect.scoped(Effect.gen(function*() {
        const { mine, tables } = yield* Tenants
        const { as, sql, tenantsIn } = yield* session
        for (const table of tables) {
          // The transaction before leaves nothing behind in the session.
          assert.deepStrictEqual(yield* as(mine, tenantsIn(table)), [mine], table)
          assert.deepStrictEqual(yield* tenantsIn(table), [], table)
          const off = Effect.andThen(sql`SELECT set_config('valetkey.across_tenants', 'off', true)`, tenantsIn(table))
          assert.deepStrictEqual(yield* sql.withTransaction(off), [], table)
          yield* refused(fill(sql, table, mine))
          yield* refused(fill(sql, table, ""))
          assert.deepStrictEqual(yield* sql`UPDATE ${sql(table)} SET tenant = tenant RETURNING 1`, [])
          assert.deepStrictEqual(yield* sql`DELETE FROM ${sql(table)} RETURNING 1`, [])
        }
      })))

    it.effect("I10 shows a tenant its own rows, and lets it insert, change, give away and delete no other's", () =>
      Effect.scoped(Effect.gen(function*() {
        const { mine, tables, theirs } = yield* Tenants
        const owner = (yield* TestDatabase).sql
        const { as, sql, tenantsIn } = yield* session
        for (const table of tables) {
          assert.deepStrictEqual(yield* as(mine, tenantsIn(table)), [mine], table)
          yield* refused(as(mine, fill(sql, table, theirs)))
          yield* refused(as(mine, sql`UPDATE ${sql(table)} SET tenant = ${randomUUID()}`))
          const others = sql`UPDATE ${sql(table)} SET tenant = tenant WHERE tenant = ${theirs} RETURNING 1`
          assert.deepStrictEqual(yield* as(mine, others), [], table)
          assert.deepStrictEqual(
            yield* as(mine, sql`DELETE FROM ${sql(table)} WHERE tenant = ${theirs} RETURNING 1`),
            [],
            table
          )
          const left = yield* owner<{ tenant: string }>`SELECT tenant FROM ${owner(table)} ORDER BY tenant`
          assert.deepStrictEqual(left.map(({ tenant }) => tenant), [theirs, mine], table)
        }
      })))

    it.effect("I10 turns an operation that forgets its tenant into one about its own tenant, or about none", () =>
      Effect.scoped(Effect.gen(function*() {
        const { app, mine, tables, theirs } = yield* Tenants
        const { sql: owner, url } = yield* TestDatabase
        const [secured, unsecured] = [yield* database(app), yield* database(url)]
        for (const table of tables) {
          const seen = (way: Pick<typeof secured, "read" | "write" | "transaction">) =>
            Effect.forEach(
              ["read", "write", "transaction"] as const,
              (kind) =>
                way[kind]("forgetful", (sql) =>
                  Effect.map(
                    sql<{ tenant: string }>`SELECT tenant FROM ${sql(table)} ORDER BY tenant`,
                    (rows) => rows.map(({ tenant }) => tenant).join()
                  ))
            )
          const thrice = (tenants: string) => [tenants, tenants, tenants]
          assert.deepStrictEqual(yield* seen(secured.forTenant(mine)), thrice(mine), table)
          assert.deepStrictEqual(yield* seen(secured), thrice(""), table)
          assert.deepStrictEqual(yield* seen(secured.acrossTenants), thrice(`${theirs},${mine}`), table)
          // To the owner, who is not subject to it, the same operations show the bug.
          assert.deepStrictEqual(yield* seen(unsecured.forTenant(mine)), thrice(`${theirs},${mine}`), table)
          yield* secured.forTenant(randomUUID()).write("forgetful", (sql) => sql`DELETE FROM ${sql(table)}`)
          const [{ left } = { left: 0 }] = yield* owner<{ left: number }>`
            SELECT count(*)::int AS left FROM ${owner(table)}`
          assert.strictEqual(left, 2, table)
        }
      })))

    it.effect("I10 I21 names the tenant from soon after the role is no more let past, without a restart", () =>
      Effect.gen(function*() {
        const { app, mine } = yield* Tenants
        const { sql: owner } = yield* TestDatabase
        const role = owner(new URL(Redacted.value(app)).username)
        const clock = yield* Clock.Clock
        let ahead = 0
        const ofTest: Clock.Clock = Object.assign(Object.create(clock), {
          currentTimeMillis: Effect.sync(() => clock.currentTimeMillisUnsafe() + ahead)
        })
        yield* Effect.gen(function*() {
          yield* owner`ALTER ROLE ${role} BYPASSRLS`
          const { read } = (yield* database(app)).forTenant(mine)
          assert.lengthOf(yield* read("own", (sql) => sql`SELECT FROM servers WHERE tenant = ${mine}`), 1)
          yield* owner`ALTER ROLE ${role} NOBYPASSRLS`
          ahead = 5001
          // Another statement: a session keeps the plan of one that it has seen, with the rights of that time.
          assert.lengthOf(yield* read("own", (sql) => sql`SELECT FROM servers WHERE ${mine} = tenant`), 1)
        }).pipe(Effect.scoped, Effect.provideService(Clock.Clock, ofTest))
      }))
  })
})
