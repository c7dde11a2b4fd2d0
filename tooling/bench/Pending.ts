import { Flows } from "@valetkey/domain/Flows"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { Servers } from "@valetkey/domain/Servers"
import type { Signals } from "@valetkey/domain/Signals"
import { Database } from "@valetkey/store-postgres/Database"
import * as SqliteStore from "@valetkey/store-sqlite/SqliteStore"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import { type Context, Duration, Effect, Exit, Layer, Scope } from "effect"
import { join } from "node:path"
import { setTimeout as delay } from "node:timers/promises"
import * as EveryStore from "../proofs/EveryStore.ts"
import * as Installation from "../proofs/Installation.ts"
import * as TemporaryDirectory from "../proofs/TemporaryDirectory.ts"
import * as Crowd from "./Crowd.ts"
import { newBegun, newClaimed, newFlow, newWrite, server, tenant } from "./NewFlow.ts"
import { type Contestant, quantile, race } from "./Race.ts"
import type { Section } from "./Table.ts"

/** How large the crowds are, and how long idleness is watched. */
export interface PendingOptions {
  readonly few: number
  readonly many: number
  readonly rounds: number
  readonly idleSeconds: number
  /** Hears the figures of a store as soon as they are there. */
  readonly report: (sections: ReadonlyArray<Section>) => void
  /** Calls of which the slowest hundredth is looked at. */
  readonly calls: number
}

/** One installation with a crowd of pending flows. Its housekeeping runs as a server's does. */
type World = Context.Context<Flows | FlowStore | Servers>

/** What pending flows and their waiters cost, on Postgres and on the embedded store. */
export const pending = (options: PendingOptions): Promise<ReadonlyArray<Section>> =>
  Effect.forEach(
    [["Postgres", onPostgres], ["the embedded store", embedded]] as const,
    ([name, world]) =>
      Effect.tap(
        Effect.scoped(measure(name, world, options)),
        (sections) => Effect.sync(() => options.report(sections))
      )
  ).pipe(Effect.map((sections) => sections.flat()), Effect.runPromise)

const withHousekeeping = <A, E, R>(layer: Layer.Layer<A | Housekeeping | Signals, E, R>) =>
  Layer.provideMerge(Housekeeping.layerSchedule(), layer)

const onPostgres = Effect.fnUntraced(function*(flows: number) {
  const { url } = yield* EmbeddedPostgres.database
  const world = yield* Layer.build(Layer.fresh(withHousekeeping(Installation.layer(EveryStore.postgres(url)))))
  yield* Crowd.fillPostgres(flows).pipe(Effect.provide(Layer.fresh(Database.layer({ url }))))
  return world
})

const embedded = Effect.fnUntraced(function*(flows: number) {
  const path = join(yield* TemporaryDirectory.make, "valetkey.db")
  const store = yield* Layer.build(Layer.fresh(SqliteStore.layer({ path })))
  yield* Effect.provideContext(Crowd.fillEmbedded(flows), store)
  return yield* Layer.build(Layer.fresh(withHousekeeping(Installation.layer(Layer.succeedContext(store)))))
})

const measure = Effect.fnUntraced(function*<E>(
  name: string,
  make: (flows: number) => Effect.Effect<World, E, Scope.Scope>,
  { calls, few, idleSeconds, many, rounds }: PendingOptions
) {
  const nearby = yield* Scope.make()
  const small = yield* Scope.provide(make(few), nearby)
  const large = yield* make(many)
  for (const world of [small, large]) yield* Effect.provideContext(describeServer, world)
  const beside = (title: string, work: Effect.Effect<number, unknown, Flows | FlowStore>) =>
    Effect.promise(() =>
      race(rounds, [
        [`beside ${few} pending flows`, () => Effect.runPromise(Effect.provideContext(work, small))],
        [`beside ${many} pending flows`, () => Effect.runPromise(Effect.provideContext(work, large))]
      ])
    ).pipe(Effect.map((figures): Section => ({
      title: `${title}, ${name}`,
      unit: "ms",
      figures,
      limits: { [`beside ${many} pending flows`]: { atMost: 2 } }
    })))
  const timed = [
    yield* beside("start of a flow, 99th percentile", ninetyNinth(start, calls)),
    yield* beside("callback to stored credentials, 99th percentile", ninetyNinth(callback, calls)),
    yield* beside("sweep with nothing due, 99th percentile", ninetyNinth(sweep, calls))
  ]
  yield* Scope.close(nearby, Exit.void)
  const alone = yield* Effect.promise(() => idleShare(idleSeconds))
  const waiters = yield* Effect.provideContext(waitForAll(many), large)
  const idle = yield* Effect.promise(() => idleShare(idleSeconds))
  const section = (
    title: string,
    unit: string,
    limit: number,
    figure: number,
    others: ReadonlyArray<Contestant> = []
  ) =>
    Effect.promise(() =>
      race(1, [
        [`limit of ${limit}`, () => Promise.resolve(limit)],
        [`${many} waiters`, () => Promise.resolve(figure)],
        ...others
      ])
    ).pipe(Effect.map((figures): Section => ({ title, unit, figures, limits: { [`${many} waiters`]: { atMost: 1 } } })))
  const costs = [
    yield* section(`heap of a waiter, ${name}`, "bytes", 500, waiters.bytes),
    yield* section(`timers of all waiters, ${name}`, "timers", 2, waiters.timers),
    yield* section(`processor of the idle process, ${name}`, "% of a core", 0.2, idle, [
      ["its housekeeping, before anybody waits", () => Promise.resolve(alone)]
    ])
  ]
  yield* Effect.provideContext(settleSome(many, waiters.heard), large)
  return [...timed, ...costs]
})

const describeServer = Effect.flatMap(Servers, (servers) =>
  servers.put(tenant, server, {
    resource: "https://mcp.example/mcp",
    endpoints: { authorization: "https://as.example/authorize", token: "https://as.example/token" },
    client: { clientId: "bench", authMethod: "none" },
    quirks: {}
  }))

const start = Effect.gen(function*() {
  const begun = performance.now()
  yield* (yield* Flows).start(newFlow().key, { transport: "gateway" })
  return performance.now() - begun
})

const callback = Effect.gen(function*() {
  const [flows, store] = [yield* Flows, yield* FlowStore]
  const { authorization, owner } = yield* newBegun(store)
  const begun = performance.now()
  yield* store.claim({ ...authorization, bindingHash: undefined, lease: Duration.minutes(1) })
  yield* store.complete(owner.id, 1, newWrite())
  yield* flows.wait(owner, "1 minute")
  return performance.now() - begun
})

const sweep = Effect.gen(function*() {
  const begun = performance.now()
  yield* (yield* FlowStore).sweep({ retention: Duration.days(1), limit: 100 })
  return performance.now() - begun
})

const ninetyNinth = <E, R>(one: Effect.Effect<number, E, R>, calls: number) =>
  Effect.map(Effect.all(Array.from({ length: calls }, () => one)), (times) => quantile(times, 0.99))

/** Registers a waiter for every flow of the crowd and gives what one costs, once each has looked. */
const waitForAll = Effect.fnUntraced(function*(many: number) {
  const flows = yield* Flows
  const heard = new Map<number, string>()
  // A store keeps one timer for the deadlines of whatever it was asked lately: it is there before as it is after.
  yield* sweep
  const before = { bytes: heapBytes(), timers: timers() }
  for (let n = 0; n < many; n++) {
    yield* flows.onSettled(Crowd.ownerOf(n), "1 hour", (settled) => {
      const exit = Effect.runSyncExit(settled)
      if (Exit.isSuccess(exit)) heard.set(n, exit.value.state)
    })
    // A server does other things in between.
    if (n % 1000 === 999) yield* Effect.promise(() => delay(0))
  }
  // Flows are looked at in the order of the waiters: the last one's answer comes when all have looked.
  const { owner } = yield* newClaimed(yield* FlowStore)
  yield* (yield* FlowStore).fail(owner.id, 1, "code_rejected")
  yield* flows.wait(owner, "10 minutes")
  yield* Effect.promise(() => delay(1000))
  return { heard, bytes: (heapBytes() - before.bytes) / many, timers: timers() - before.timers }
})

/** Ends a few flows behind the back of the process: each of their waiters hears of it by the poll, and no other. */
const settleSome = Effect.fnUntraced(function*(many: number, heard: ReadonlyMap<number, string>) {
  const store = yield* FlowStore
  const chosen = Array.from({ length: 50 }, (_, n) => Math.floor(n * many / 50))
  for (const n of chosen) yield* store.cancel(Crowd.ownerOf(n))
  const deadline = performance.now() + 60_000
  while (heard.size < chosen.length && performance.now() < deadline) yield* Effect.promise(() => delay(100))
  if (heard.size !== chosen.length || chosen.some((n) => heard.get(n) !== "cancelled")) {
    return yield* Effect.die(`${heard.size} waiters heard of ${chosen.length} flows`)
  }
})

const heapBytes = (): number => {
  if (globalThis.gc === undefined) throw new Error("run with --expose-gc")
  for (let pass = 0; pass < 3; pass++) globalThis.gc()
  const { external, heapUsed } = process.memoryUsage()
  return heapUsed + external
}

const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length

/** The share of a core that the process needs while nothing happens, in percent. */
const idleShare = async (seconds: number): Promise<number> => {
  await delay(2000)
  const before = process.cpuUsage()
  await delay(seconds * 1000)
  const { system, user } = process.cpuUsage(before)
  return (user + system) / (seconds * 10_000)
}
