import type { CheckpointName } from "@valetkey/domain/Checkpoint"
import type { TcpProxy } from "@valetkey/testing/TcpProxy"
import { setTimeout as pause } from "node:timers/promises"
import type { Callers } from "./Callers.ts"
import type { Exit, Fault } from "./History.ts"
import type { Random } from "./Random.ts"
import type { Replica } from "./Replicas.ts"
import { timing } from "./Timing.ts"

/** What can be broken, and how. */
export interface IncidentOptions {
  readonly replicas: ReadonlyArray<Replica>
  readonly callers: Callers
  readonly random: Random
  /** Stops the database as a power cut does, and starts it again. */
  readonly crashDatabase: () => Promise<void>
  /** Ends every session that listens for signals. */
  readonly deafen: () => Promise<void>
  /** Milliseconds by which the clocks of replicas may be off; one is drawn at each start. */
  readonly offsets: ReadonlyArray<number>
  /** Names of the incidents that may happen; all when absent. */
  readonly only?: ReadonlyArray<string> | undefined
  /** Replicas that may be in trouble at the same time. */
  readonly atOnce: number
}

/** What goes wrong during a run. */
export interface Incidents {
  /** Has something go wrong again and again until `stop` says so; returns when the last of it is over and healed. */
  happen(stop: () => boolean): Promise<void>
  readonly faults: Array<Fault>
  readonly exits: ReadonlyArray<Exit>
  /** How often each kind happened. */
  readonly counts: Readonly<Record<string, number>>
}

/** The points at which a refresh can be hit. */
const points: ReadonlyArray<CheckpointName> = [
  "refresh.claimed",
  "refresh.sent",
  "refresh.response_received",
  "refresh.before_commit",
  "refresh.after_commit"
]

/** Makes the incidents of a run. */
export const make = (options: IncidentOptions): Incidents => {
  const { callers, random, replicas } = options
  const faults: Array<Fault> = []
  const exits: Array<Exit> = []
  const counts: Record<string, number> = {}
  const count = (what: string) => counts[what] = (counts[what] ?? 0) + 1

  /** Records that something is done to a replica from now on, open-ended until it is over. */
  const during = async (what: string, replica: Replica | undefined, act: () => Promise<void>): Promise<void> => {
    const fault = { what, from: Date.now(), to: Infinity, replica: replica?.index }
    faults.push(fault)
    count(what)
    await act()
    fault.to = Date.now()
  }

  const restart = async (replica: Replica): Promise<void> => {
    callers.forget(replica.api())
    // Another incident may keep it from starting: a database that is just coming back.
    for (let attempt = 0; attempt < 20; attempt++) {
      try {
        return await replica.start({ clockOffset: random.pick(options.offsets) })
      } catch (error) {
        if (attempt === 19) throw error
        await pause(250)
      }
    }
  }

  const shortly = () => random.between(300, 2500)
  const weather = async (line: ReadonlyArray<TcpProxy>): Promise<void> => {
    const kind = random.pick(["reset", "blackhole", "cut"] as const)
    for (const proxy of line) {
      if (kind === "cut") proxy.setResetAfter(random.below(4000))
      else proxy.setMode(kind)
    }
    await pause(shortly())
    for (const proxy of line) {
      proxy.setResetAfter(undefined)
      proxy.setMode("forward")
      // What a black hole swallowed is missing: such a connection is of no more use.
      proxy.resetAll()
    }
  }

  const toOne: ReadonlyArray<readonly [weight: number, name: string, act: (replica: Replica) => Promise<void>]> = [
    [2, "kill", (replica) =>
      during("kill", replica, async () => {
        replica.signal("SIGKILL")
        await replica.ended()
        await restart(replica)
      })],
    [4, "kill at a point", (replica) =>
      during("kill at a point", replica, async () => {
        void replica.arm(random.pick(points), "kill")
        await Promise.race([replica.ended(), pause(3000)])
        replica.signal("SIGKILL")
        await replica.ended()
        await restart(replica)
      })],
    [2, "pause", (replica) =>
      during("pause", replica, async () => {
        const point = random.pick(points)
        if (random.next() < 0.5) replica.signal("SIGSTOP")
        else void replica.arm(point, "stop")
        await pause(random.next() < 0.3 ? timing.lease + shortly() : shortly())
        // It may not have come there, and come there yet.
        void replica.arm(point, undefined)
        replica.signal("SIGCONT")
        await pause(200)
        replica.signal("SIGCONT")
      })],
    [1, "stall", (replica) =>
      during("stall", replica, async () => {
        const spinMillis = shortly()
        const point = random.pick(points)
        void replica.arm(point, { spinMillis })
        await pause(spinMillis + 200)
        void replica.arm(point, undefined)
      })],
    [2, "term", async (replica) => {
      const at = Date.now()
      await during("term", replica, async () => {
        replica.signal("SIGTERM")
        const code = await replica.ended()
        exits.push({ at, end: Date.now(), replica: replica.index, code })
        await restart(replica)
      })
    }],
    [3, "store line", (replica) => during("store line", replica, () => weather([replica.store]))],
    [3, "provider line", (replica) => during("provider line", replica, () => weather(replica.providers))],
    // Slow lines excuse nothing.
    [2, "slow line", async (replica) => {
      count("slow line")
      const line = random.pick([[replica.store], replica.providers])
      for (const proxy of line) proxy.setDelay(random.between(2, 40))
      await pause(shortly())
      for (const proxy of line) proxy.setDelay(0)
    }]
  ]
  const toAll: ReadonlyArray<readonly [weight: number, name: string, act: () => Promise<void>]> = [
    [1, "database crash", () => during("database crash", undefined, options.crashDatabase)],
    // A lost signal excuses nothing either.
    [3, "lost signals", async () => {
      count("lost signals")
      await options.deafen()
    }]
  ]
  const wanted = (name: string) => options.only === undefined || options.only.includes(name)
  const single = toOne.filter(([, name]) => wanted(name)).map(([weight, , act]) => [weight, act] as const)
  const common = toAll.filter(([, name]) => wanted(name)).map(([weight, , act]) => [weight, act] as const)

  return {
    faults,
    exits,
    counts,
    happen: async (stop) => {
      const busy = new Set<Replica>()
      const running = new Set<Promise<void>>()
      const run = (act: Promise<void>) => {
        running.add(act)
        void act.finally(() => running.delete(act))
      }
      let everybody = false
      while (!stop()) {
        await pause(random.between(200, 900))
        if (common.length > 0 && !everybody && random.next() < 0.06) {
          everybody = true
          run(random.weighted(common)().finally(() => everybody = false))
          continue
        }
        const free = replicas.filter((replica) => !busy.has(replica))
        if (single.length === 0 || busy.size >= options.atOnce) continue
        const replica = random.pick(free)
        busy.add(replica)
        run(random.weighted(single)(replica).finally(() => busy.delete(replica)))
      }
      await Promise.all(running)
      for (const replica of replicas) replica.signal("SIGCONT")
    }
  }
}
