import * as PgClient from "@effect/sql-pg/PgClient"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import type { ContractOptions } from "@valetkey/testing/StoreContract"
import { Context, Duration, Effect, Layer, type Redacted, String } from "effect"

/** A database of the test file's own and a client that looks into it past the stores. */
export class TestDatabase extends Context.Service<TestDatabase, {
  readonly url: Redacted.Redacted
  readonly sql: PgClient.PgClient
}>()("@valetkey/store-postgres/test/TestDatabase") {
  static readonly layer = Layer.effect(
    TestDatabase,
    Effect.gen(function*() {
      const { url } = yield* EmbeddedPostgres.database
      const context = yield* Layer.build(PgClient.layer({
        url,
        maxConnections: 2,
        transformResultNames: String.snakeToCamel,
        transformJson: false
      }))
      const sql = Context.get(context, PgClient.PgClient)
      yield* installClock(sql)
      return TestDatabase.of({ url, sql })
    })
  )
}

/** Lets the time of the database's clock pass, for every session of it. */
export const advance = (duration: Duration.Duration) =>
  Effect.flatMap(
    TestDatabase,
    ({ sql }) =>
      sql`UPDATE test_clock.shift SET by = by + ${Duration.toMillis(duration)}::float8 * interval '1 millisecond'`
  )

const tampering = {
  edit: "UPDATE audit SET outcome = 'other' WHERE tenant = $1 AND seq = 2",
  delete: "DELETE FROM audit WHERE tenant = $1 AND seq = 2",
  cut: "DELETE FROM audit WHERE tenant = $1 AND seq = 4"
}

/** Tampers with a tenant's audit chain past the stores. */
export const tamper: ContractOptions<TestDatabase>["tamper"] = (tenant, how) =>
  Effect.flatMap(TestDatabase, ({ sql }) =>
    how === "reorder"
      ? sql.withTransaction(Effect.andThen(
        sql`UPDATE audit SET seq = -seq WHERE tenant = ${tenant} AND seq IN (2, 3)`,
        sql`UPDATE audit SET seq = 5 + seq WHERE tenant = ${tenant} AND seq IN (-2, -3)`
      ))
      : sql.unsafe(tampering[how], [tenant]))

// The stores take the time from `clock_timestamp()` alone, so a function of that name that is found first is their clock.
const installClock = Effect.fnUntraced(function*(sql: PgClient.PgClient) {
  yield* sql`CREATE SCHEMA test_clock`
  yield* sql`CREATE TABLE test_clock.shift (by interval NOT NULL)`
  yield* sql`INSERT INTO test_clock.shift VALUES ('0')`
  yield* sql`CREATE FUNCTION test_clock.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE plpgsql AS
    'BEGIN RETURN pg_catalog.clock_timestamp() + (SELECT by FROM test_clock.shift); END'`
  const [database] = yield* sql<{ name: string }>`SELECT current_database() AS name`
  yield* sql`ALTER DATABASE ${sql(database?.name ?? "")} SET search_path = public, test_clock, pg_catalog`
})
