import { Flows } from "@valetkey/domain/Flows"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { flowTopic, Signals } from "@valetkey/domain/Signals"
import { Database } from "@valetkey/store-postgres/Database"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import { Context, Effect, Fiber, Layer, Queue } from "effect"
import { randomUUID } from "node:crypto"
import * as EveryStore from "../proofs/EveryStore.ts"
import * as Installation from "../proofs/Installation.ts"
import { newClaimed, newWrite } from "./NewFlow.ts"
import { median, quantile, race } from "./Race.ts"
import type { Section } from "./Table.ts"

const settlings = 300
const across = 100

/** From the settling of a flow to the continuation of who waits for it: in one process, and on another replica. */
export const waiting = async (rounds: number): Promise<ReadonlyArray<Section>> => [
  await inProcess(rounds),
  await onAnotherReplica(rounds)
]

/** The flow is settled in the store; then the signal, the read that it causes, and the waiting fiber are timed. */
const inProcess = (rounds: number): Promise<Section> =>
  Effect.gen(function*() {
    const measures = yield* Effect.forEach(["memory", "SQLite"] as const, (name) =>
      Effect.gen(function*() {
        const store = yield* EveryStore.stores[name]
        const context = yield* Layer.build(Installation.layer(store()))
        const run = Effect.runPromiseWith(context)
        return [`${name === "SQLite" ? "embedded store" : name}, 95th percentile`, () => run(settledHere)] as const
      }))
    return {
      title: "callback to waiter in one process",
      unit: "µs",
      figures: yield* Effect.promise(() =>
        race(rounds, [["limit of 50 µs", () => Promise.resolve(50)], ["a bare promise", barePromise], ...measures])
      ),
      limits: { "embedded store, 95th percentile": { atMost: 1 }, "memory, 95th percentile": { atMost: 1 } }
    } satisfies Section
  }).pipe(Effect.scoped, Effect.runPromise)

const settledHere = Effect.gen(function*() {
  const flows = yield* Flows
  const store = yield* FlowStore
  const signals = yield* Signals
  const times: Array<number> = []
  for (let n = 0; n < settlings; n++) {
    const { id, owner } = yield* newClaimed(store)
    const waiter = yield* goingOn(flows.wait(owner, "1 minute"))
    yield* store.fail(id, 1, "code_rejected")
    const begun = performance.now()
    yield* signals.wake(flowTopic(id))
    times.push(1000 * ((yield* Fiber.join(waiter)) - begun))
  }
  return quantile(times, 0.95)
})

const barePromise = async (): Promise<number> => {
  const times: Array<number> = []
  for (let n = 0; n < settlings; n++) {
    let begun = 0
    const { promise, resolve } = Promise.withResolvers<void>()
    const waiter = promise.then(() => performance.now() - begun)
    begun = performance.now()
    resolve()
    times.push(1000 * await waiter)
  }
  return quantile(times, 0.95)
}

/** Completing a flow with its credentials on one replica, until who waits on another goes on. */
const onAnotherReplica = (rounds: number): Promise<Section> =>
  Effect.gen(function*() {
    const { url } = yield* EmbeddedPostgres.database
    const replica = Layer.build(Layer.fresh(Installation.layer(EveryStore.postgres(url))))
    const here = yield* replica
    const there = yield* replica
    const floor = yield* Effect.provideContext(bareNotify, yield* Layer.build(Layer.fresh(Database.layer({ url }))))
    return {
      title: "callback to waiter on another replica, Postgres",
      unit: "ms, median",
      figures: yield* Effect.promise(() =>
        race(rounds, [
          ["one durable update, NOTIFY and re-read", () => Effect.runPromise(floor)],
          ["completed flow with its credentials", () => Effect.runPromise(settledThere(here, there))],
          ["a poll every 2 s, on average", () => Promise.resolve(1000)]
        ])
      ),
      limits: { "completed flow with its credentials": { atMost: 1.3 } }
    } satisfies Section
  }).pipe(Effect.scoped, Effect.runPromise)

type Replica = Context.Context<Flows | FlowStore | Signals>

const settledThere = (here: Replica, there: Replica) =>
  Effect.gen(function*() {
    const store = Context.get(here, FlowStore)
    const times: Array<number> = []
    for (let n = 0; n < across; n++) {
      const { id, owner } = yield* newClaimed(store)
      const waiter = yield* goingOn(Context.get(there, Flows).wait(owner, "1 minute"))
      const begun = performance.now()
      yield* store.complete(id, 1, newWrite())
      times.push((yield* Fiber.join(waiter)) - begun)
    }
    return median(times)
  })

/** Makes the floor: a table of two columns, a session that listens, and nothing around them. */
const bareNotify = Effect.gen(function*() {
  const database = yield* Database
  const sql = yield* database.write("bench", (sql) => Effect.succeed(sql))
  const reads = yield* database.read("bench", (sql) => Effect.succeed(sql))
  const session = yield* Effect.flatMap(database.session, (session) => session.pin)
  const heard = yield* session.listen("bench")
  yield* sql`CREATE TABLE bare_flows (id text PRIMARY KEY, state text)`
  return Effect.gen(function*() {
    const times: Array<number> = []
    for (let n = 0; n < across; n++) {
      const id = randomUUID()
      yield* sql`INSERT INTO bare_flows VALUES (${id}, 'exchanging')`
      const waiter = yield* goingOn(
        Effect.andThen(Queue.take(heard), reads`SELECT * FROM bare_flows WHERE id = ${id}`)
      )
      const begun = performance.now()
      yield* sql`WITH done AS (UPDATE bare_flows SET state = 'completed' WHERE id = ${id} RETURNING id)
        SELECT pg_notify('bench', id) FROM done`
      times.push((yield* Fiber.join(waiter)) - begun)
    }
    return median(times)
  })
})

/** Waits in a fiber and gives the time at which it goes on. */
const goingOn = <A, E>(waiting: Effect.Effect<A, E>) =>
  Effect.forkChild(Effect.andThen(waiting, Effect.sync(() => performance.now())), { startImmediately: true })
