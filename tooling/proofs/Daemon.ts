import { Effect, Schedule, type Scope } from "effect"
import { readdirSync, readFileSync } from "node:fs"

/** A process as the system shows it to its owner. */
export interface Seen {
  readonly pid: number
  /** Arguments, separated by zero bytes. */
  readonly argv: string
  /** Variables, separated by zero bytes. */
  readonly environ: string
}

/** The servers that run on this `VALETKEY_HOME`, however they were started. */
export const of = (home: string): ReadonlyArray<Seen> =>
  readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return []
    try {
      const argv = readFileSync(`/proc/${name}/cmdline`, "utf8")
      const environ = readFileSync(`/proc/${name}/environ`, "utf8")
      const ours = argv.split("\0").includes("serve") && environ.split("\0").includes(`VALETKEY_HOME=${home}`)
      return ours ? [{ pid: Number(name), argv, environ }] : []
    } catch {
      // It ended, or belongs to somebody else.
      return []
    }
  })

/** Ends the servers of this `VALETKEY_HOME` and returns when they are gone. */
export const stop = (home: string): Effect.Effect<void> =>
  Effect.sync(() => {
    for (const { pid } of of(home)) process.kill(pid, "SIGTERM")
  }).pipe(
    Effect.andThen(
      Effect.repeat(Effect.sync(() => of(home).length), {
        until: (left) => left === 0,
        schedule: Schedule.spaced("20 millis")
      })
    ),
    Effect.timeoutOption("10 seconds"),
    Effect.asVoid
  )

/** Sees to it that no server of this `VALETKEY_HOME` outlives the scope. */
export const contain = (home: string): Effect.Effect<void, never, Scope.Scope> => Effect.addFinalizer(() => stop(home))
