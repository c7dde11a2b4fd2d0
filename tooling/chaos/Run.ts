import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import { Effect } from "effect"
import { setTimeout as pause } from "node:timers/promises"
import type { Name } from "./Breakage.ts"
import * as Changes from "./Changes.ts"
import { type Finding, judge } from "./Checker.ts"
import * as Deployment from "./Deployment.ts"
import type { Call, Fault, History, Mode, Subject } from "./History.ts"
import * as Incidents from "./Incidents.ts"
import * as Load from "./Load.ts"
import type { Measured } from "./Pulse.ts"
import * as Random from "./Random.ts"
import { circuit, misconfigured, timing } from "./Timing.ts"
import type { Witness } from "./Witness.ts"

/** What a run is made of. The seed decides what is chosen, not when the machine gets to it. */
export interface RunOptions {
  readonly seed: number
  readonly seconds: number
  readonly connections: number
  readonly workers: number
  readonly replicas: number
  /** A deliberately broken build. */
  readonly broken?: Name | undefined
  /** The only incidents that happen. */
  readonly only?: ReadonlyArray<string> | undefined
  /** Replicas that may be in trouble at the same time; all but one when absent. */
  readonly atOnce?: number | undefined
  /** The share of redemptions that a provider answers in another way than honestly and at once; 0.08 when absent. */
  readonly share?: number | undefined
  /** Ends the run before its time, asked now and then. */
  readonly until?: ((seen: Seen) => boolean) | undefined
  /** Told now and then how far it is. */
  readonly onProgress?: ((seen: Seen) => void) | undefined
}

/** How far a run is. */
export interface Seen {
  readonly seconds: number
  readonly calls: number
  /** Answers that replicas lived to report; killed ones take theirs along. */
  readonly refreshes: number
  readonly incidents: Readonly<Record<string, number>>
}

/** A run that is over. */
export interface Ran {
  readonly seconds: number
  readonly history: History
  readonly findings: ReadonlyArray<Finding>
  readonly incidents: Readonly<Record<string, number>>
  readonly measured: Measured
}

/** Off by less than a lifetime, and by more than every lease. */
const offsets = [0, 0, 0, 120, -120]

/** Starts everything, lets it work and break, heals it, and judges what was seen. Ends whatever it started. */
export const run = (options: RunOptions): Promise<Ran> => Effect.runPromise(Effect.scoped(program(options)))

const program = (options: RunOptions) =>
  Effect.gen(function*() {
    const random = Random.make(options.seed)
    const measured = { sentToDurable: new Array<number>(), receivedToDurable: new Array<number>() }
    const { bearerOf, callers, log, postgres, providers, replicas, witness } = yield* Deployment.make({
      seed: random.below(2 ** 31),
      replicas: options.replicas,
      share: options.share ?? 0.08,
      lastingUntil: Date.now() + options.seconds * 1000 - misconfigured,
      broken: options.broken,
      onMeasured: (some) => {
        measured.sentToDurable.push(...some.sentToDurable)
        measured.receivedToDurable.push(...some.receivedToDurable)
      }
    })
    const subjects = subjectsOf(options, random)
    const load = Load.make({
      subjects,
      replicas,
      providers,
      callers,
      bearerOf,
      random: random.fork(),
      workers: options.workers
    })
    const incidents = Incidents.make({
      replicas,
      callers,
      random: random.fork(),
      offsets,
      only: options.only,
      atOnce: options.atOnce ?? options.replicas - 1,
      crashDatabase: () => Effect.runPromise(postgres.crash),
      deafen: async () => {
        await Effect.runPromise(EmbeddedPostgres.statement(
          postgres.url,
          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ILIKE 'listen %'"
        ))
      }
    })
    return yield* Effect.promise(async (): Promise<Ran> => {
      await replicas[0]!.start()
      await Changes.watch(postgres.url)
      await Promise.all(replicas.slice(1).map((replica) => replica.start()))
      await load.connect()
      const begun = Date.now()
      const seen = (): Seen => ({
        seconds: (Date.now() - begun) / 1000,
        calls: load.calls.length,
        refreshes: measured.sentToDurable.length,
        incidents: incidents.counts
      })
      const stop = () => Date.now() - begun > options.seconds * 1000 || options.until?.(seen()) === true
      const watching = watchYourself(incidents.faults)
      const told = setInterval(() => options.onProgress?.(seen()), 30_000)
      await Promise.all([load.work(stop), incidents.happen(stop)])
      const seconds = (Date.now() - begun) / 1000
      await providers.calm()
      const healedAt = Date.now()
      await load.finish(timing.lease + timing.waiter + circuit)
      const rest = await atRest(() => Changes.rest(postgres.url, subjects))
      clearInterval(told)
      watching.stop()
      const history: History = {
        subjects,
        ...await providers.collect(),
        calls: load.calls.map((call) => witnessed(witness, call)),
        deeds: load.deeds,
        changes: await Changes.read(postgres.url, subjects),
        marks: await Changes.marks(postgres.url, subjects),
        faults: incidents.faults,
        exits: incidents.exits,
        rest,
        log: log.read(),
        skew: Math.max(...offsets) - Math.min(...offsets),
        healedAt
      }
      return { seconds, history, findings: judge(history), incidents: incidents.counts, measured }
    })
  })

/** A call with what its replica saw of it. Of who was answered nobody asks that. */
const witnessed = (witness: Witness, call: Call): Call =>
  call.status !== 0 ? call : {
    ...call,
    accepted: call.socket === undefined ? undefined : witness.hasAccepted(call.socket),
    read: call.number === undefined ? undefined : witness.hasRead(call.number)
  }

const subjectsOf = ({ connections }: RunOptions, random: Random.Random): ReadonlyArray<Subject> =>
  Array.from({ length: connections }, (_, id): Subject => {
    // A real provider is slow: a few connections of it are enough to be real.
    const mode: Mode = id % 50 === 7 ? "real" : random.pick(["refuse", "revoke", "grace"] as const)
    return {
      id,
      mode,
      // Many: what a tenant learns of a provider that is down, and its audit chain, are its own.
      tenant: `tenant-${id % 40}`,
      subject: `subject-${id % 4}`,
      server: `server-${id}`,
      policy: random.next() < 0.25 ? "strict" : "retry-once",
      lifetimeSeconds: id % 20 === 3 ? undefined : mode === "real" ? 3 : random.pick([1, 1, 2, 4, 3600])
    }
  })

/** Waits until no refresh is under way, no longer than two leases. */
const atRest = async (look: () => Promise<History["rest"]>): Promise<History["rest"]> => {
  const until = Date.now() + 2 * timing.lease
  while (true) {
    const rest = await look()
    if (rest.every(({ phase }) => phase === "idle") || Date.now() > until) return rest
    await pause(250)
  }
}

/** Notes when this process itself did not get to run: what it saw then says little. */
const watchYourself = (faults: Array<Fault>) => {
  let last = Date.now()
  const timer = setInterval(() => {
    const now = Date.now()
    if (now - last > 1000) faults.push({ what: "starved", from: last, to: now })
    last = now
  }, 100)
  return { stop: () => clearInterval(timer) }
}
