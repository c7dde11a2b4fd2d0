import { assert, describe, it } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { StoreError } from "@valetkey/domain/StoreError"
import { Context, Deferred, Duration, Effect, Fiber, Layer, Option, Redacted } from "effect"
import { randomUUID } from "node:crypto"
import { inspect } from "node:util"
import { Database, type Sql } from "../src/Database.ts"
import { PostgresHealth } from "../src/PostgresHealth.ts"
import * as PostgresStore from "../src/PostgresStore.ts"
import * as Line from "./internal/line.ts"
import { TestDatabase } from "./internal/realPostgres.ts"
import { newAuthorization, newKey, newStart, newWrite, rightCallback } from "./internal/rows.ts"

const deadline = Duration.millis(700)

/** One replica. */
const replica = (options: PostgresStore.PostgresOptions) =>
  Effect.map(
    Layer.build(Layer.fresh(PostgresStore.layer({ deadline, ...options }))),
    (context) => ({
      flows: Context.get(context, FlowStore),
      connections: Context.get(context, ConnectionStore),
      health: Context.get(context, PostgresHealth)
    })
  )

/** One replica over a line that can be cut. */
const replicaOnLine = Effect.gen(function*() {
  const { url } = yield* TestDatabase
  const line = yield* Line.make(url)
  return { line, ...(yield* replica({ url: line.url })) }
})

/** The error of an effect that must fail, and how long that took. */
const failure = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.map(Effect.timed(Effect.flip(effect)), ([took, error]) => {
    assert.instanceOf(error, StoreError)
    return { error, millis: Duration.toMillis(took) }
  })

/** Everything a log could show of a value. */
const shown = (value: unknown) => `${String(value)} ${inspect(value, { depth: 20, showHidden: true })}`

describe("Outages", () =>
  it.layer(TestDatabase.layer, { timeout: "60 seconds", excludeTestServices: true })((it) => {
    it.effect("DB-01 DB-02 fails within its deadline on a database that went silent, and recovers without a restart", () =>
      Effect.gen(function*() {
        const { connections, flows, health, line } = yield* replicaOnLine
        const key = newKey()
        yield* connections.deposit(key, newWrite(0))
        const { flow } = yield* flows.reserve(newStart(key))
        const authorization = newAuthorization()
        yield* flows.freeze(flow.id, authorization)
        yield* connections.get(key)
        yield* line.silence
        for (
          const operation of [
            Effect.asVoid(connections.get(key)),
            Effect.asVoid(flows.claim(rightCallback(authorization))),
            // A refresh commits where it cannot be interrupted; the deadline holds there as well.
            Effect.uninterruptible(Effect.asVoid(connections.deposit(key, newWrite(1))))
          ]
        ) {
          const { error, millis } = yield* failure(operation)
          assert.strictEqual(error.code, "store_unavailable")
          assert.isBelow(millis, 1500)
        }
        assert.deepStrictEqual(yield* health.check, { _tag: "NotReady", reason: "database_unreachable" })
        yield* line.heal
        yield* Effect.retry(connections.get(key), { times: 20 })
        const claimed = yield* Effect.retry(flows.claim(rightCallback(authorization)), { times: 20 })
        assert.isTrue(Option.isSome(claimed))
        assert.deepStrictEqual(yield* health.check, { _tag: "Ready" })
      }))

    it.effect("DB-02 fails while the database refuses connections, and recovers without a restart", () =>
      Effect.gen(function*() {
        const { connections, line } = yield* replicaOnLine
        const key = newKey()
        yield* connections.deposit(key, newWrite(0))
        yield* line.cut
        assert.strictEqual((yield* failure(connections.get(key))).error.code, "store_unavailable")
        assert.strictEqual((yield* failure(connections.deposit(key, newWrite(1)))).error.code, "store_unavailable")
        yield* line.heal
        assert.strictEqual(Option.getOrThrow(yield* connections.get(key)).generation, 1)
        assert.isTrue(yield* connections.deposit(key, newWrite(1)))
      }))

    it.effect("goes on after an administrator ended every session", () =>
      Effect.gen(function*() {
        const { sql, url } = yield* TestDatabase
        const applicationName = `killed-${randomUUID()}`
        const { connections } = yield* replica({ url, applicationName })
        const key = newKey()
        yield* connections.deposit(key, newWrite(0))
        yield* connections.get(key)
        for (let round = 1; round < 5; round++) {
          yield* sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = ${applicationName}`
          assert.strictEqual(Option.getOrThrow(yield* connections.get(key)).generation, round)
          // A write is not repeated by itself: it may have happened.
          const wrote = yield* Effect.orElseSucceed(connections.deposit(key, newWrite(round)), () => false)
          if (!wrote) assert.isTrue(yield* connections.deposit(key, newWrite(round)))
        }
      }))

    it.effect("says that the database is away when it goes in the middle of a transaction, whatever that made of it", () =>
      Effect.gen(function*() {
        const { url } = yield* TestDatabase
        const database = Context.get(yield* Layer.build(Layer.fresh(Database.layer({ url }))), Database)
        const end = (sql: Sql) => sql`SELECT pg_terminate_backend(pg_backend_pid())`
        for (
          const work of [
            end,
            (sql: Sql) => Effect.ignore(end(sql)),
            (sql: Sql) => Effect.andThen(Effect.ignore(end(sql)), Effect.fail("a reason of its own"))
          ]
        ) {
          const { error } = yield* failure<unknown, unknown>(
            database.transaction<unknown, unknown>("Outages.end", work)
          )
          assert.deepInclude(error, { code: "store_unavailable", operation: "Outages.end" })
        }
        assert.deepStrictEqual(yield* database.transaction("Outages.end", (sql) => sql`SELECT 1 AS one`), [{ one: 1 }])
      }))

    it.effect("DB-05 fails within its deadline when every connection is taken, and recovers", () =>
      Effect.gen(function*() {
        const { sql, url } = yield* TestDatabase
        const { connections } = yield* replica({ url, maxConnections: 1 })
        const [locked, free] = [newKey(), newKey()]
        yield* connections.deposit(locked, newWrite(0))
        yield* connections.deposit(free, newWrite(0))
        const holding = yield* Deferred.make<void>()
        const release = yield* Deferred.make<void>()
        const holder = yield* Effect.forkChild(sql.withTransaction(
          sql`SELECT 1 FROM connections WHERE tenant = ${locked.tenant} FOR UPDATE`.pipe(
            Effect.andThen(Deferred.succeed(holding, undefined)),
            Effect.andThen(Deferred.await(release))
          )
        ))
        yield* Deferred.await(holding)
        const failures = yield* Effect.all(
          [locked, locked, free].map((key) => failure(connections.deposit(key, newWrite(1)))),
          { concurrency: "unbounded" }
        )
        for (const { error, millis } of failures) {
          assert.strictEqual(error.code, "store_unavailable")
          assert.isBelow(millis, 1500)
        }
        // Reads have connections of their own.
        assert.isTrue(Option.isSome(yield* connections.get(locked)))
        yield* Deferred.succeed(release, undefined)
        yield* Fiber.join(holder)
        // What failed may have happened after its deadline all the same, so the next one begins with what is there.
        const onward = Effect.flatMap(
          connections.get(locked),
          (found) => connections.deposit(locked, newWrite(Option.getOrThrow(found).generation))
        )
        assert.isTrue(yield* Effect.repeat(Effect.retry(onward, { times: 20 }), { until: (done) => done, times: 3 }))
      }))

    it.effect("DB-06 repeats a transaction that the database asks to repeat, a bounded number of times", () =>
      Effect.gen(function*() {
        const { sql, url } = yield* TestDatabase
        const { connections, flows } = yield* replica({ url })
        yield* sql`CREATE SEQUENCE conflicts`
        yield* sql`CREATE TABLE conflict_limit (tenant text, times bigint)`
        yield* sql`CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $body$
          BEGIN
            IF nextval('conflicts') <= (SELECT times FROM conflict_limit WHERE tenant = NEW.tenant) THEN
              RAISE EXCEPTION 'conflict' USING ERRCODE = '40001';
            END IF;
            RETURN NEW;
          END $body$`
        yield* sql`CREATE TRIGGER conflict BEFORE UPDATE ON connections FOR EACH ROW EXECUTE FUNCTION conflict()`
        const attempt = Effect.fnUntraced(function*(times: number) {
          const key = newKey()
          yield* connections.deposit(key, newWrite(0))
          yield* flows.reserve(newStart(key))
          yield* sql`SELECT setval('conflicts', 1, false)`
          yield* sql`INSERT INTO conflict_limit VALUES (${key.tenant}, ${times})`
          const ended = yield* Effect.result(connections.disconnect(key, newWrite(0).epoch))
          const flow = Option.getOrThrow(yield* flows.latest(key))
          return { ended: ended._tag, flow: flow.state }
        })
        assert.deepStrictEqual(yield* attempt(2), { ended: "Success", flow: "cancelled" })
        assert.deepStrictEqual(yield* attempt(100), { ended: "Failure", flow: "pending" })
        yield* sql`DROP TRIGGER conflict ON connections`
      }))

    it.effect("DB-18 names no value, host or user in an error, whatever the database said", () =>
      Effect.gen(function*() {
        const { url } = yield* TestDatabase
        const { flows } = yield* replica({ url })
        const [one, two] = [newStart(newKey()), newStart(newKey())]
        yield* flows.reserve(one)
        yield* flows.reserve(two)
        const authorization = newAuthorization()
        yield* flows.freeze(one.id, authorization)
        const { error } = yield* failure(flows.freeze(two.id, authorization))
        assert.include(shown(error), "UniqueViolation (23505)")
        assert.notInclude(shown(error), authorization.stateHash)
        assert.notInclude(shown(error), one.id)
      }))

    it.effect("keeps the URL out of the error of a start that is refused", () =>
      Effect.gen(function*() {
        const { url } = yield* TestDatabase
        const wrong = new URL(Redacted.value(url))
        wrong.username = "canary-user"
        wrong.password = "canary-password"
        for (const text of [wrong.href, "postgres://canary-user:canary-password@[", "https://canary-password@x"]) {
          const error = yield* Effect.flip(Effect.scoped(replica({ url: Redacted.make(text) })))
          assert.strictEqual(error.code, "store_unavailable")
          assert.notInclude(shown(error), "canary")
        }
      }))

    it.effect("tells a row that cannot be read from a database that cannot be reached", () =>
      Effect.gen(function*() {
        const { sql, url } = yield* TestDatabase
        const { connections } = yield* replica({ url })
        const key = newKey()
        yield* connections.deposit(key, newWrite(0))
        yield* sql`UPDATE connections SET "grant" = jsonb_set("grant", '{issuer}', '"canary not a URL"')
          WHERE tenant = ${key.tenant}`
        const { error } = yield* failure(connections.get(key))
        assert.strictEqual(error.code, "store_corrupt")
        assert.strictEqual(error.operation, "ConnectionStore.get")
        assert.notInclude(shown(error), "canary")
      }))
  }))
