// The floor of refreshing on several replicas: one flight in each process, a row with a lease, one request, NOTIFY, and
// reading again. The same driver; tokens in clear, no fence, no generation, no policy, no spool, no audit, no errors.
import * as PgClient from "@effect/sql-pg/PgClient"
import { Deferred, Effect, Queue, Redacted } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import type { Order, Prepared } from "../RefreshOrders.ts"

const [, , url = "", tokenEndpoint = ""] = process.argv

interface Row {
  readonly access: string
  readonly expired: boolean
}

const program = Effect.gen(function*() {
  const sql = yield* PgClient.make({ url: Redacted.make(url), maxConnections: 10 })
  const flights = new Map<string, Deferred.Deferred<string>>()
  const waiting = new Map<string, Deferred.Deferred<void>>()
  const heard = yield* sql.listen("floor")
  yield* Effect.forkScoped(Effect.forever(Effect.flatMap(Queue.take(heard), ({ payload }) => {
    const waiter = waiting.get(payload)
    waiting.delete(payload)
    return waiter === undefined ? Effect.void : Deferred.succeed(waiter, undefined)
  })))

  const read = (name: string) =>
    Effect.map(sql<Row>`SELECT access, expired FROM floor WHERE name = ${name}`, ([row]) => row!)

  const refresh = (name: string): Effect.Effect<string, unknown> =>
    Effect.gen(function*() {
      const waiter = waiting.get(name) ?? Deferred.makeUnsafe<void>()
      waiting.set(name, waiter)
      const row = yield* read(name)
      if (!row.expired) return row.access
      const [claimed] = yield* sql<
        { refresh: string }
      >`UPDATE floor SET lease_until = clock_timestamp() + interval '1 minute'
        WHERE name = ${name} AND expired AND (lease_until IS NULL OR lease_until < clock_timestamp()) RETURNING refresh`
      if (claimed === undefined) {
        yield* Effect.raceFirst(Deferred.await(waiter), Effect.sleep("500 millis"))
        return yield* refresh(name)
      }
      const answer = yield* Effect.promise(async () => {
        const response = await fetch(tokenEndpoint, {
          method: "POST",
          body: new URLSearchParams({
            grant_type: "refresh_token",
            client_id: "fake-client",
            refresh_token: claimed.refresh
          })
        })
        return await response.json() as { readonly access_token: string; readonly refresh_token: string }
      })
      yield* sql`WITH stored AS (
          UPDATE floor SET access = ${answer.access_token}, refresh = ${answer.refresh_token}, expired = false,
            lease_until = NULL WHERE name = ${name} RETURNING name
        ) SELECT pg_notify('floor', name) FROM stored`
      return answer.access_token
    })

  const get = (name: string): Effect.Effect<string, unknown> =>
    Effect.gen(function*() {
      const row = yield* read(name)
      if (!row.expired) return row.access
      const running = flights.get(name)
      if (running !== undefined) return yield* Deferred.await(running)
      const flight = Deferred.makeUnsafe<string>()
      flights.set(name, flight)
      const token = yield* refresh(name)
      flights.delete(name)
      yield* Deferred.succeed(flight, token)
      return token
    })

  const prepare = (rows: ReadonlyArray<Prepared>) =>
    Effect.forEach(
      rows,
      ({ accessToken, name, refreshToken }) =>
        sql`INSERT INTO floor (name, access, refresh, expired) VALUES (${name}, ${accessToken}, ${refreshToken}, true)`,
      {
        discard: true
      }
    )

  const run = Effect.runPromiseWith(yield* Effect.context<never>())
  process.on("message", (order: Order) => {
    void run(
      Effect.gen(function*() {
        if (order.do === "prepare") {
          yield* prepare(order.rows)
          return {}
        }
        const begun = performance.now()
        const tokens = yield* Effect.forEach(
          Array.from({ length: order.callers }, (_, n) => order.names[n % order.names.length]!),
          get,
          { concurrency: "unbounded" }
        )
        return { seconds: (performance.now() - begun) / 1000, tokens: [...new Set(tokens)] }
      })
    ).then((done) => process.send?.({ done }))
  })
  yield* sql`CREATE TABLE IF NOT EXISTS floor (name text PRIMARY KEY, access text, refresh text, expired boolean,
    lease_until timestamptz)`.pipe(Effect.ignore)
  process.send?.({ ready: true })
  return yield* Effect.never
})

process.on("disconnect", () => process.exit())
void Effect.runPromise(Effect.scoped(program).pipe(Effect.provide(Reactivity.layer)))
