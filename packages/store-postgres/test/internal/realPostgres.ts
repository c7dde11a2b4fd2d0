import * as PgClient from "@effect/sql-pg/PgClient"
import { AuditEvent } from "@valetkey/domain/AuditLog"
import type { TenantId } from "@valetkey/domain/Tenant"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import { Context, Duration, Effect, Layer, type Redacted, Schema, String } from "effect"

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

/** The audit events of a tenant, oldest first. */
export const auditTrail = (tenant: TenantId) =>
  Effect.flatMap(TestDatabase, ({ sql }) =>
    Effect.flatMap(
      sql`SELECT tenant, subject, server, action, outcome, generation FROM audit WHERE tenant = ${tenant} ORDER BY id`,
      Effect.forEach(({ generation, ...event }) => decodeEvent(generation === null ? event : { ...event, generation }))
    ))

const decodeEvent = Schema.decodeUnknownEffect(AuditEvent)

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
