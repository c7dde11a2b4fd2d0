import type { ConnectionKey } from "@valetkey/domain/Connection"
import { Flows } from "@valetkey/domain/Flows"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { Database } from "@valetkey/store-postgres/Database"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Context, Effect, Fiber, Layer, Queue, Redacted } from "effect"
import { randomUUID } from "node:crypto"
import * as EveryStore from "../proofs/EveryStore.ts"
import * as Installation from "../proofs/Installation.ts"
import { newClaimed, newWrite } from "./NewFlow.ts"
import { median, quantile, race } from "./Race.ts"
import type { Section } from "./Table.ts"

const settlings = 60
const across = 100

/** From the settling of a flow to the continuation of who waits for it: in one process, and on another replica. */
export const waiting = async (rounds: number): Promise<ReadonlyArray<Section>> => [
  await inProcess(rounds),
  await onAnotherReplica(rounds)
]

/** From the return of the commit that completes a flow to the fiber that waits for it, in flows of a real provider. */
const inProcess = (rounds: number): Promise<Section> =>
  Effect.gen(function*() {
    const provider = yield* FakeProvider.make()
    const measures = yield* Effect.forEach(["memory", "SQLite", "PostgreSQL"] as const, (name) =>
      Effect.gen(function*() {
        const commit = { at: 0 }
        const store = yield* EveryStore.stores[name]
        const timed = Layer.effect(FlowStore, Effect.map(FlowStore, (store) => noting(store, commit)))
        const context = yield* Layer.build(Installation.layer(Layer.provideMerge(timed, store())))
        const key = yield* Effect.provideContext(Installation.describe(provider.resource), context)
        return [
          `${name}, 95th percentile`,
          () => Effect.runPromise(Effect.provideContext(settledHere(key, commit), context))
        ] as const
      }))
    return {
      title: "callback to waiter in one process",
      unit: "µs",
      figures: yield* Effect.promise(() =>
        race(rounds, [["limit of 50 µs", () => Promise.resolve(50)], ["a bare promise", barePromise], ...measures])
      ),
      limits: Object.fromEntries(measures.map(([name]) => [name, { atMost: 1 }]))
    } satisfies Section
  }).pipe(Effect.scoped, Effect.runPromise)

const noting = (store: FlowStore["Service"], commit: { at: number }): FlowStore["Service"] => ({
  ...store,
  complete: (...input) => Effect.tap(store.complete(...input), () => Effect.sync(() => commit.at = performance.now()))
})

const settledHere = Effect.fnUntraced(function*(key: ConnectionKey, commit: { readonly at: number }) {
  const flows = yield* Flows
  const person = UserAgent.make()
  const times: Array<number> = []
  for (let n = 0; n < settlings; n++) {
    const started = yield* flows.start(key, { transport: "loopback", reauthorize: true })
    if (started._tag !== "Started") return yield* Effect.die(`the start was ${started._tag}`)
    const { id } = started.flow
    const waiter = yield* goingOn(flows.wait({ id, tenant: key.tenant, subject: key.subject }, "1 minute"))
    yield* person.authorize(Redacted.value(started.authorizationUrl))
    times.push(1000 * ((yield* Fiber.join(waiter)) - commit.at))
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

/**
 * Completing a flow with its credentials on one replica, until who waits on another goes on. The floor is durable to the same
 * end by one statement: it consumes the flow, stores credentials of the same size and notifies, and who waits reads the flow
 * again. What a notified update of one column takes, which stores nothing, is shown beside it.
 */
const onAnotherReplica = (rounds: number): Promise<Section> =>
  Effect.gen(function*() {
    const { url } = yield* EmbeddedPostgres.database
    const replica = Layer.build(Layer.fresh(Installation.layer(EveryStore.postgres(url))))
    const here = yield* replica
    const there = yield* replica
    const bare = yield* Effect.provideContext(bareNotify, yield* Layer.build(Layer.fresh(Database.layer({ url }))))
    return {
      title: "callback to waiter on another replica, Postgres",
      unit: "ms, median",
      figures: yield* Effect.promise(() =>
        race(rounds, [
          ["consume, store and NOTIFY in one statement, and re-read", () => Effect.runPromise(bare.storing)],
          ["one durable update, NOTIFY and re-read", () => Effect.runPromise(bare.updating)],
          ["completed flow with its credentials", () => Effect.runPromise(settledThere(here, there))],
          ["a poll every 2 s, on average", () => Promise.resolve(1000)]
        ])
      ),
      limits: { "completed flow with its credentials": { atMost: 1.3 } }
    } satisfies Section
  }).pipe(Effect.scoped, Effect.runPromise)

type Replica = Context.Context<Flows | FlowStore>

const settledThere = (here: Replica, there: Replica) =>
  Effect.gen(function*() {
    const store = Context.get(here, FlowStore)
    const times: Array<number> = []
    for (let n = 0; n < across; n++) {
      const { id, owner } = yield* newClaimed(store)
      const waiter = yield* goingOn(Context.get(there, Flows).wait(owner, "1 minute"))
      yield* asLongAsPeopleTake
      const begun = performance.now()
      yield* store.complete(id, 1, newWrite())
      times.push((yield* Fiber.join(waiter)) - begun)
    }
    return median(times)
  })

/** Who waits has looked by then, as it has when a person comes back from the consent. */
const asLongAsPeopleTake = Effect.sleep("3 millis")

/** Makes the floors: small tables, a session that listens, and nothing around them. */
const bareNotify = Effect.gen(function*() {
  const database = yield* Database
  const sql = yield* database.write("bench", (sql) => Effect.succeed(sql))
  const reads = yield* database.read("bench", (sql) => Effect.succeed(sql))
  const session = yield* Effect.flatMap(database.session, (session) => session.pin)
  const heard = yield* session.listen("bench")
  yield* sql`CREATE TABLE bare_flows (id text PRIMARY KEY, state text, code_verifier bytea, settled_at timestamptz)`
  yield* sql`CREATE TABLE bare_connections (tenant text, subject text, server text, "grant" jsonb, access_token bytea,
    refresh_token bytea, scopes text[], created_at timestamptz, PRIMARY KEY (tenant, subject, server))`
  const measure = <A, E>(settle: (id: string, write: ReturnType<typeof newWrite>) => Effect.Effect<A, E>) =>
    Effect.gen(function*() {
      const times: Array<number> = []
      for (let n = 0; n < across; n++) {
        const [id, write] = [randomUUID(), newWrite()]
        yield* sql`INSERT INTO bare_flows VALUES (${id}, 'exchanging', ${write.credentials.accessToken}, NULL)`
        const waiter = yield* goingOn(
          Effect.andThen(Queue.take(heard), reads`SELECT * FROM bare_flows WHERE id = ${id}`)
        )
        yield* asLongAsPeopleTake
        const begun = performance.now()
        yield* settle(id, write)
        times.push((yield* Fiber.join(waiter)) - begun)
      }
      return median(times)
    })
  return {
    storing: measure((id, { credentials, grant }) =>
      sql`WITH consumed AS (
          UPDATE bare_flows SET state = 'completed', code_verifier = NULL, settled_at = clock_timestamp()
          WHERE id = ${id} AND state = 'exchanging' RETURNING id
        ), stored AS (
          INSERT INTO bare_connections
          SELECT 'bench', id, 'notes', ${sql.json(grant)}, ${credentials.accessToken}, ${credentials.refreshToken!},
            ${credentials.scopes!}::text[], clock_timestamp() FROM consumed
          RETURNING subject
        )
        SELECT pg_notify('bench', subject) FROM stored`
    ),
    updating: measure((id) =>
      sql`WITH done AS (UPDATE bare_flows SET state = 'completed' WHERE id = ${id} RETURNING id)
        SELECT pg_notify('bench', id) FROM done`
    )
  }
})

/** Waits in a fiber and gives the time at which it goes on. */
const goingOn = <A, E>(waiting: Effect.Effect<A, E>) =>
  Effect.forkChild(Effect.andThen(waiting, Effect.sync(() => performance.now())), { startImmediately: true })
