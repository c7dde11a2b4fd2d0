import { assert, describe, it } from "@effect/vitest"
import type { ConnectionKey, Epoch } from "@valetkey/domain/Connection"
import { Generation } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { RenewalPlans } from "@valetkey/domain/RenewalPlans"
import { TenantStore } from "@valetkey/domain/TenantStore"
import { Context, Duration, Effect, Fiber, Layer } from "effect"
import { randomUUID } from "node:crypto"
import * as PostgresStore from "../src/PostgresStore.ts"
import { TestDatabase } from "./internal/realPostgres.ts"
import { newKey, newWrite } from "./internal/rows.ts"

interface Row {
  readonly key: ConnectionKey
  readonly epoch: Epoch
}

const generation = Generation.make(1)
const lease = Duration.minutes(1)

/** One replica, and twelve connections of as many tenants; the first three are the ones to lock. */
const twelve = Effect.gen(function*() {
  const { url } = yield* TestDatabase
  const context = yield* Layer.build(Layer.fresh(PostgresStore.layer({ url })))
  const connections = Context.get(context, ConnectionStore)
  const rows: Array<Row> = []
  for (let index = 0; index < 12; index++) {
    const [key, write] = [newKey(), newWrite(0)]
    yield* connections.deposit(key, write)
    rows.push({ key, epoch: write.epoch })
  }
  return {
    connections,
    held: rows.slice(0, 3),
    strangers: rows.slice(3),
    claim: ({ epoch, key }: Row) => connections.claim(key, { generation, epoch, policy: "retry-once", lease }),
    mark: ({ epoch, key }: Row) => connections.markSent(key, { generation, epoch, fence: 1, lease }),
    commit: ({ epoch, key }: Row) =>
      connections.commit(key, { generation, epoch, credentials: newWrite(0).credentials, resultId: randomUUID() })
  }
})

/** Works while another session holds the rows. */
const whileHeld = <A, E, R>(rows: ReadonlyArray<Row>, work: Effect.Effect<A, E, R>) =>
  Effect.flatMap(TestDatabase, ({ sql }) =>
    sql.withTransaction(Effect.andThen(
      sql`SELECT FROM connections WHERE ${sql.in("tenant", rows.map(({ key }) => key.tenant))} FOR UPDATE`,
      work
    )))

const atOnce = <A, E>(rows: ReadonlyArray<Row>, call: (row: Row) => Effect.Effect<A, E>) =>
  Effect.forEach(rows, call, { concurrency: "unbounded" })

describe("rows that another session has locked", () =>
  it.layer(TestDatabase.layer, { timeout: "60 seconds", excludeTestServices: true })((it) => {
    it.effect("keep no claim of a stranger waiting that was asked for with theirs, and are claimed when they are free", () =>
      Effect.gen(function*() {
        const { claim, held, strangers } = yield* twelve
        const claims = yield* whileHeld(held, atOnce([...held, ...strangers], claim))
        assert.deepStrictEqual(claims.map(({ _tag }) => _tag), [
          ...held.map(() => "Busy"),
          ...strangers.map(() => "Claimed")
        ])
        // Whoever asks again at once would ask in a circle.
        assert.isAbove(claims[0]?._tag === "Busy" ? Duration.toMillis(claims[0].remaining) : 0, 0)
        assert.deepStrictEqual((yield* atOnce(held, claim)).map(({ _tag }) => _tag), held.map(() => "Claimed"))
      }))

    for (const step of ["mark", "commit"] as const) {
      it.effect(`keep no ${step} of a stranger waiting, beside them or after them, and have theirs when they are free`, () =>
        Effect.gen(function*() {
          const { claim, connections, [step]: call, held, strangers } = yield* twelve
          yield* atOnce([...held, ...strangers], claim)
          const { together, waiting } = yield* whileHeld(
            held,
            Effect.gen(function*() {
              // A read lies between them, so that each has a group for itself.
              const waiting = yield* Effect.forEach(
                held.slice(1),
                (row) =>
                  Effect.tap(Effect.forkChild(call(row), { startImmediately: true }), () => connections.get(row.key))
              )
              const gone = { ...held[0]!, key: newKey() }
              const together = yield* Effect.forkChild(atOnce([held[0]!, ...strangers.slice(0, 4), gone], call))
              assert.deepStrictEqual(yield* atOnce(strangers.slice(4), call), strangers.slice(4).map(() => true))
              assert.deepStrictEqual(yield* call(gone), false)
              assert.isTrue(waiting.every((fiber) => fiber.pollUnsafe() === undefined))
              return { waiting, together }
            })
          )
          assert.deepStrictEqual(yield* Effect.forEach(waiting, Fiber.join), [true, true])
          assert.deepStrictEqual(yield* Fiber.join(together), [true, true, true, true, true, false])
        }))
    }

    it.effect("are waited for in the order of their keys by whoever plans renewals or deletes a tenant", () =>
      Effect.gen(function*() {
        const { sql, url } = yield* TestDatabase
        const applicationName = `ordered-${randomUUID()}`
        const context = yield* Layer.build(Layer.fresh(PostgresStore.layer({ url, applicationName })))
        const connections = Context.get(context, ConnectionStore)
        const { plan } = Context.get(context, RenewalPlans)
        const tenants = Context.get(context, TenantStore)
        const waits = sql`SELECT FROM pg_stat_activity
          WHERE application_name = ${applicationName} AND wait_event_type = 'Lock'`
        const { tenant } = newKey()
        const rows: Array<Row> = []
        // The later key is named first.
        for (const subject of ["second", "first"]) {
          const [key, write] = [newKey({ tenant, subject }), newWrite(0)]
          yield* connections.deposit(key, write)
          rows.push({ key, epoch: write.epoch })
        }
        const after = Duration.minutes(1)
        for (const work of [plan(rows.map((row) => ({ ...row, generation, after }))), tenants.begin(tenant)]) {
          // A planner that knows how small the table is reads it as it lies there, what was written last behind.
          yield* sql`UPDATE connections SET updated_at = now() WHERE tenant = ${tenant} AND subject = 'first'`
          yield* sql`ANALYZE connections`
          const running = yield* sql.withTransaction(Effect.gen(function*() {
            yield* sql`SELECT FROM connections WHERE tenant = ${tenant} AND subject = 'first' FOR UPDATE`
            const running = yield* Effect.forkChild(work, { startImmediately: true })
            yield* Effect.repeat(waits, { until: (rows) => rows.length > 0 })
            // Whoever waits for the first has not locked the second.
            yield* sql`SELECT FROM connections WHERE tenant = ${tenant} AND subject = 'second' FOR UPDATE NOWAIT`
            return running
          }))
          yield* Fiber.join(running)
        }
      }))
  }))
