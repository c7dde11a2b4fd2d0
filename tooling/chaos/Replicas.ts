import type { CheckpointName } from "@valetkey/domain/Checkpoint"
import type { Misfortune } from "@valetkey/testing/ProcessInjection"
import * as TcpProxy from "@valetkey/testing/TcpProxy"
import { Effect, type Scope } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Name } from "./Breakage.ts"
import * as Child from "./Child.ts"
import { type Mode, modes } from "./History.ts"
import type { Log } from "./Log.ts"
import type { Measured } from "./Pulse.ts"
import type { Witness } from "./Witness.ts"

/** The name under which every replica knows the providers; each has a line of its own to them. */
export const providerHost = "provider.example"

/** One server process of an installation, and what can be done to it. */
export interface Replica {
  readonly index: number
  /** Where it answers; changes with every start. */
  readonly api: () => string
  readonly up: () => boolean
  /** Its line to the database. */
  readonly store: TcpProxy.TcpProxy
  /** Its lines to the providers. */
  readonly providers: ReadonlyArray<TcpProxy.TcpProxy>
  /** Starts it, with a time of day that is off by so much; returns when it is ready. */
  start(options?: StartOptions): Promise<void>
  signal(signal: NodeJS.Signals): void
  /** Completes when the process has heard it, or cannot. */
  arm(name: CheckpointName, misfortune: Misfortune | undefined): Promise<void>
  /** Completes when the process that runs now has come to an armed point. */
  struck(): Promise<unknown>
  /** Completes when the process that runs now has ended. */
  ended(): Promise<unknown>
  readonly complaint: () => string
}

/** How a replica is started this time. */
export interface StartOptions {
  /** Milliseconds by which its time of day is off. */
  readonly clockOffset?: number
  readonly full?: Child.StartOptions["full"]
  readonly env?: Readonly<Record<string, string>>
}

/** What the replicas of a run share. */
export interface Installation {
  readonly env: Readonly<Record<string, string>>
  readonly databaseUrl: string
  readonly ports: Readonly<Record<Mode, number>>
  readonly broken?: Name | undefined
  readonly onMeasured: (measured: Measured) => void
  readonly witness: Witness
  readonly log: Log
  /** Where compiled code is kept for the next start. */
  readonly compiled: string
}

/** The address from which a replica's lines come, at the database and at the providers. */
const addressOf = (index: number): string => `127.0.0.${11 + index}`

/** Whose address it is. */
export const indexOf = (address: string): number | undefined => {
  const last = Number(/(?:^|:)127\.0\.0\.(\d+)$/.exec(address)?.[1])
  return last > 10 ? last - 11 : undefined
}

/** Makes a replica that is not started yet; the scope ends its process, its lines and its files. */
export const make = (index: number, installation: Installation): Effect.Effect<Replica, never, Scope.Scope> =>
  Effect.gen(function*() {
    const home = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), `vk-chaos-${index}-`))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
    )
    const from = addressOf(index)
    const database = new URL(installation.databaseUrl)
    const store = yield* TcpProxy.make({ host: database.hostname, port: Number(database.port), from })
    const providers = yield* Effect.forEach(modes, (mode) => {
      const port = installation.ports[mode]
      return TcpProxy.make({ port, listen: { host: from, port }, from })
    })
    let child: Child.Child | undefined
    let api = ""
    let up = false
    yield* Effect.addFinalizer(() =>
      Effect.promise(async () => {
        child?.process.kill("SIGKILL")
        await child?.ended
      })
    )
    return {
      index,
      api: () => api,
      up: () => up,
      store,
      providers,
      start: async ({ clockOffset = 0, env, full } = {}) => {
        const started = child = Child.start(new URL("./ReplicaProcess.ts", import.meta.url), {
          preload: new URL("./ReplicaPreload.ts", import.meta.url),
          full,
          env: {
            PATH: process.env["PATH"],
            HOME: home,
            VALETKEY_HOME: join(home, "home"),
            VALETKEY_READY_LINE: "true",
            VALETKEY_LOG_LEVEL: "error",
            ...installation.env,
            ...env,
            DATABASE_URL: store.through(installation.databaseUrl),
            CHAOS_RESOLVE: `${providerHost}=${from}`,
            CHAOS_CLOCK_OFFSET: String(clockOffset),
            ...(installation.broken === undefined
              // What is compiled once is compiled: half of what a start costs.
              ? { NODE_COMPILE_CACHE: installation.compiled }
              : { CHAOS_BREAK: installation.broken })
          }
        })
        started.onComplaint((line) => installation.log.add(index, line))
        started.on("measured", installation.onMeasured as (value: never) => void)
        started.on("seen", installation.witness.hear as (value: never) => void)
        void started.ended.then(() => {
          if (child === started) up = false
        })
        api = String((await readyLine(started)).listen.at(-1))
        up = true
      },
      signal: (signal) => {
        if (signal === "SIGTERM" || signal === "SIGKILL") up = false
        child?.process.kill(signal)
      },
      arm: async (name, misfortune) => {
        if (child?.process.connected !== true) return
        const heard = child.message("armed").catch(() => undefined)
        child.process.send({ arm: name, misfortune }, () => undefined)
        await heard
      },
      struck: () => child?.message("struck") ?? Promise.resolve(),
      ended: () => child?.ended ?? Promise.resolve(null),
      complaint: () => child?.complaint() ?? ""
    }
  })

const readyLine = (child: Child.Child): Promise<{ readonly listen: ReadonlyArray<string> }> =>
  new Promise((resolve, reject) => {
    const look = () => {
      const [line, ...more] = child.said().split("\n")
      if (more.length > 0) resolve(JSON.parse(line!))
    }
    child.process.stdout?.on("data", look)
    void child.ended.then((how) =>
      reject(new Error(`a replica ended with ${how} before it was ready: ${child.complaint()}`))
    )
  })
