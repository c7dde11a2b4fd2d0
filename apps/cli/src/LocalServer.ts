import { type Home, versionHeader } from "@valetkey/client/Home"
import * as LocalSocket from "@valetkey/client/LocalSocket"
import { Effect, Schedule } from "effect"
import type { ChildProcess } from "node:child_process"
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, statSync } from "node:fs"
import { CliFailure, failure } from "./CliFailure.ts"
import { Output, plain } from "./Output.ts"
import { version } from "./Version.ts"

/** How long a starting server has until it must answer. */
const startDeadline = "10 seconds"

/**
 * Makes sure that the local server answers, starting it when nobody does. Two commands that start it at once end with
 * one server: the second finds the data directory locked and leaves, and both commands find the first.
 */
export const ensureRunning = (home: Home): Effect.Effect<void, CliFailure, Output> =>
  Effect.gen(function*() {
    const output = yield* Output
    const { state, version: other } = yield* probe(home)
    if (other !== undefined && other !== version) yield* output.say(otherVersion(home, other))
    if (state === "running") return
    if (state === "not_ours") return // The request itself explains it.
    yield* output.say("Starting the Valetkey server of this user")
    yield* Effect.scoped(Effect.gen(function*() {
      const child = yield* launch(home)
      const answers = probe(home).pipe(
        Effect.flatMap(({ state }) => state === "running" ? Effect.void : Effect.fail("not yet" as const)),
        Effect.retry(Schedule.spaced("40 millis")),
        Effect.orDie
      )
      yield* Effect.raceFirst(answers, trouble(child)).pipe(
        Effect.timeoutOrElse({
          duration: startDeadline,
          orElse: () =>
            Effect.fail(failure(
              "server_not_started",
              `The Valetkey server was started and does not answer at ${home.socket}; its log is ${home.log}`
            ))
        })
      )
    }))
  })

/** What somebody learns whose server was started by another version of the program, as one that lived through an upgrade was. */
const otherVersion = (home: Home, other: string): string => {
  const pid = pidOf(home)
  const how = pid === undefined ? "end it" : `end it with \`kill ${pid}\``
  return `The Valetkey server of this user is of version ${
    plain(other.slice(0, 40))
  }, this command of ${version}; ${how}, or restart its service, and the next command finds the new one`
}

/** The server of this user that answers, with the number of its process where it left one; undefined where none answers. */
export const answering = (home: Home): Effect.Effect<{ readonly pid: string | undefined } | undefined> =>
  Effect.map(probe(home), ({ state }) => state === "running" ? { pid: pidOf(home) } : undefined)

const pidOf = (home: Home): string | undefined => {
  const pid = existsSync(home.pid) ? readFileSync(home.pid, "utf8").trim() : ""
  return /^\d+$/.test(pid) ? pid : undefined
}

interface Probed {
  readonly state: "running" | "not_running" | "not_ours"
  readonly version?: string | undefined
}

/** Whether somebody answers on the socket, and of which version. A short request decides it, so that a dying server does not count. */
const probe = (home: Home): Effect.Effect<Probed> =>
  Effect.tryPromise({
    try: (signal) => LocalSocket.request({ socket: home.socket, method: "GET", path: "/livez", signal }),
    catch: (error) =>
      error instanceof LocalSocket.LocalSocketError && error.code === "not_ours" ? "not_ours" : "not_running"
  }).pipe(
    Effect.timeoutOrElse({ duration: "2 seconds", orElse: () => Effect.fail("not_running" as const) }),
    Effect.map(({ headers }): Probed => ({ state: "running", version: headers[versionHeader] })),
    Effect.catch((state) => Effect.succeed<Probed>({ state }))
  )

/** Runs `valetkey serve` in a session of its own; it stays when this command ends. */
const launch = (home: Home) =>
  Effect.gen(function*() {
    const { spawn } = yield* Effect.promise(() => import("node:child_process"))
    return yield* Effect.acquireRelease(
      Effect.try({
        try: () => {
          mkdirSync(home.run, { recursive: true, mode: 0o700 })
          const log = openLog(home.log)
          try {
            const child = spawn(process.execPath, [process.argv[1] ?? "", "serve", "--json"], {
              cwd: home.data,
              detached: true,
              stdio: ["ignore", "pipe", log],
              env: { ...process.env, VALETKEY_TOKEN: undefined, VALETKEY_SERVER: undefined }
            })
            child.on("error", () => {})
            child.unref()
            return child
          } finally {
            closeSync(log)
          }
        },
        catch: () =>
          failure(
            "server_not_started",
            `The Valetkey server could not be started; check that ${home.data} can be written`
          )
      }),
      (child) => Effect.sync(() => child.stdout?.destroy())
    )
  })

/** How long a log may be that the next server goes on with. */
const longestLog = 1024 * 1024

/** Opens the log at its end: why the server before this one ended stands in it. A long one is put aside, in place of the one before. */
const openLog = (path: string): number => {
  try {
    if (statSync(path).size > longestLog) renameSync(path, `${path}.1`)
  } catch {
    // There was none, or it stays where it is.
  }
  return openSync(path, "a", 0o600)
}

/** Fails with what the child says went wrong. A locked data directory is no trouble: the one who holds it will answer. */
const trouble = (child: ChildProcess): Effect.Effect<never, CliFailure> =>
  Effect.callback<string>((resume) => {
    let text = ""
    child.stdout?.on("data", (chunk) => text += String(chunk))
    child.stdout?.on("close", () => resume(Effect.succeed(text)))
    child.on("error", () => resume(Effect.succeed("")))
  }).pipe(
    Effect.flatMap((text) => {
      const told = errorOf(text)
      if (told === undefined || told.code === "store_locked") return Effect.never
      return Effect.fail(
        new CliFailure({ code: told.code, sentence: `The Valetkey server did not start. ${plain(told.message)}` })
      )
    })
  )

const errorOf = (text: string): { readonly code: string; readonly message: string } | undefined => {
  try {
    const { error } = JSON.parse(text) as { readonly error?: { readonly code?: unknown; readonly message?: unknown } }
    return error === undefined ? undefined : { code: String(error.code), message: String(error.message) }
  } catch {
    return undefined
  }
}
