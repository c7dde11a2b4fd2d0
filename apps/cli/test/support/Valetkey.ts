import { type Home, locate } from "@valetkey/client/Home"
import * as Canary from "@valetkey/testing/Canary"
import * as Emitted from "@valetkey/testing/Emitted"
import { Deferred, Effect, Schedule, type Scope } from "effect"
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process"
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { variable } from "./bundle.ts"

/** How a command ended. */
export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** A running command. */
export interface Running {
  readonly pid: number
  /** Returns when the output so far matches. */
  saw(stream: "stdout" | "stderr", pattern: RegExp): Effect.Effect<RegExpExecArray>
  signal(signal: NodeJS.Signals): void
  readonly ended: Effect.Effect<Ended>
}

/** A command at a terminal, where both streams are one. */
export interface AtTerminal extends Running {
  /** Presses keys. */
  type(keys: string): Effect.Effect<void>
}

/** What `--json` printed. */
export type Document = Readonly<Record<string, unknown>>

/** What a document says about a failure; empty when there was none. */
export interface Failure {
  readonly code: string
  readonly message: string
}

/** One installation in a directory of its own: its server ends and its files are scanned when the scope closes. */
export interface Installation {
  readonly home: Home
  readonly env: Readonly<Record<string, string | undefined>>
  start(
    args: ReadonlyArray<string>,
    env?: Readonly<Record<string, string | undefined>>,
    stdin?: string | Uint8Array
  ): Effect.Effect<Running, never, Scope.Scope>
  run(
    args: ReadonlyArray<string>,
    env?: Readonly<Record<string, string | undefined>>,
    stdin?: string | Uint8Array
  ): Effect.Effect<Ended>
  /** Starts at a pseudo-terminal of its own. */
  atTerminal(args: ReadonlyArray<string>): Effect.Effect<AtTerminal, never, Scope.Scope>
  /** Runs another file than the bundle under test. */
  runFile(file: string, args: ReadonlyArray<string>): Effect.Effect<Ended>
  /** Runs with `--json`, checks that stdout is one document and returns it. */
  json(
    args: ReadonlyArray<string>,
    env?: Readonly<Record<string, string | undefined>>,
    stdin?: string | Uint8Array
  ): Effect.Effect<Ended & { readonly document: Document; readonly error: Failure }>
  /** The process id of the server, when one runs. */
  readonly serverPid: number | undefined
  /** Ends the server and returns when it is gone. */
  stop(signal?: NodeJS.Signals): Effect.Effect<void>
  /** Starts `serve` in the foreground and returns when it is ready. */
  serve(env?: Readonly<Record<string, string | undefined>>): Effect.Effect<Running, never, Scope.Scope>
  /** An executable for BROWSER that appends its arguments, one JSON array a line, to the returned file. */
  readonly browser: { readonly path: string; readonly opened: () => ReadonlyArray<ReadonlyArray<string>> }
}

/** Makes an installation. */
export const make: Effect.Effect<Installation, never, Scope.Scope> = Effect.gen(function*() {
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "vk-"))),
    // A program that a command has left behind may still be writing what it compiled.
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true, maxRetries: 5 }))
  )
  const home = locate({ VALETKEY_HOME: join(directory, "home") })
  const env = {
    PATH: process.env["PATH"],
    HOME: directory,
    VALETKEY_HOME: home.data,
    BROWSER: join(directory, "no-such-browser")
  }
  yield* Effect.addFinalizer(() => Effect.andThen(stop("SIGTERM"), Effect.sync(() => collect(home))))

  const held = <A extends Running>(launched: () => A) =>
    Effect.acquireRelease(
      Effect.sync(launched),
      (running) => Effect.andThen(Effect.sync(() => running.signal("SIGKILL")), running.ended)
    )
  const start: Installation["start"] = (args, more = {}, stdin) =>
    held(() => {
      const child = spawnNode([process.env[variable] ?? "", ...args], { ...env, ...more })
      // A command that reads nothing may be gone already.
      child.stdin.on("error", () => {}).end(stdin)
      return watch(child, args)
    })
  const atTerminal: Installation["atTerminal"] = (args) =>
    held(() => {
      const command = [process.execPath, process.env[variable] ?? "", ...args].map((word) => `'${word}'`).join(" ")
      const child = spawn("script", ["--quiet", "--flush", "--return", "--command", command, "/dev/null"], {
        env: { ...env, TERM: "xterm", SHELL: "/bin/sh" },
        stdio: "pipe"
      })
      child.stdin.on("error", () => {})
      return { ...watch(child, args), type: (keys) => Effect.sync(() => void child.stdin.write(keys)) }
    })
  const runFile: Installation["runFile"] = (file, args) =>
    Effect.suspend(() => {
      const child = spawnNode([file, ...args], env)
      child.stdin.on("error", () => {}).end()
      return watch(child, args).ended
    })
  const run: Installation["run"] = (args, more, stdin) =>
    Effect.scoped(Effect.flatMap(start(args, more, stdin), (running) => running.ended))
  const stop = (signal: NodeJS.Signals = "SIGTERM") =>
    Effect.suspend(() => {
      const pid = pidOf(home)
      if (pid === undefined || !isAlive(pid)) return Effect.void
      process.kill(pid, signal)
      return gone(pid)
    })

  return {
    home,
    env,
    start,
    run,
    atTerminal,
    runFile,
    json: (args, more, stdin) =>
      Effect.map(
        run([...args, "--json"], more, stdin),
        (ended) => ({ ...ended, document: theDocument(ended), error: theError(ended) })
      ),
    get serverPid() {
      return pidOf(home)
    },
    stop,
    serve: (more) => Effect.tap(start(["serve", "--json"], more), (running) => running.saw("stdout", /"ready":true/)),
    get browser() {
      const path = join(directory, "browser.cjs")
      const log = join(directory, "opened")
      writeFileSync(
        path,
        `#!${process.execPath}\nrequire("node:fs").appendFileSync(${
          JSON.stringify(log)
        }, JSON.stringify(process.argv.slice(2)) + "\\n")\n`
      )
      chmodSync(path, 0o755)
      return {
        path,
        opened: () =>
          existsSync(log)
            ? readFileSync(log, "utf8").split("\n").slice(0, -1).map((line) => JSON.parse(line) as Array<string>)
            : []
      }
    }
  }
})

/** Parses stdout, which must be exactly one JSON document. */
export const theDocument = ({ stdout }: Ended): Document => {
  if (!stdout.endsWith("\n") || stdout.trim().includes("\n")) {
    throw new Error(`Not one line: ${stdout.length} characters`)
  }
  return JSON.parse(stdout) as Document
}

/** What the one document says about a failure. */
export const theError = (ended: Ended): Failure => {
  const { error } = theDocument(ended) as { readonly error?: Failure }
  return error ?? { code: "", message: "" }
}

/** Returns when the condition holds. */
export const until = (condition: () => boolean): Effect.Effect<void> => eventually(Effect.sync(condition))

/** Asks until the answer is yes. */
export const eventually = (question: Effect.Effect<boolean>): Effect.Effect<void> =>
  Effect.flatMap(question, (yes) => yes ? Effect.void : Effect.fail("not yet")).pipe(
    Effect.retry(Schedule.spaced("20 millis")),
    Effect.orDie
  )

const spawnNode = (words: ReadonlyArray<string>, env: Readonly<Record<string, string | undefined>>) =>
  spawn(process.execPath, words, { env: env as NodeJS.ProcessEnv, stdio: "pipe" })

/** Commands whose stdout is a secret. */
const handsOut = new Set([
  "token",
  "exec",
  "headers",
  "curl-config",
  "git-credential",
  "docker-credential",
  "kubectl-credential"
])

const watch = (child: ChildProcessWithoutNullStreams, args: ReadonlyArray<string>): Running => {
  Emitted.record("cmdline", child.spawnargs.join(" "))
  const text = { stdout: "", stderr: "" }
  const watchers = new Set<() => void>()
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream].on("data", (chunk) => {
      text[stream] += String(chunk)
      for (const watcher of watchers) watcher()
    })
  }
  const end = Deferred.makeUnsafe<Ended>()
  child.on("close", (code, signal) => {
    Emitted.record("stderr", text.stderr)
    // Handing out a secret is what these are for; nothing else may.
    if (!handsOut.has(args[0] ?? "") && !(args[0] === "api-keys" && args[1] === "create")) {
      Emitted.record("stdout", text.stdout.replace(/"authorizationUrl":"[^"]*"/, ""))
    }
    Deferred.doneUnsafe(end, Effect.succeed({ code, signal, ...text }))
    for (const watcher of watchers) watcher()
  })
  return {
    pid: child.pid ?? 0,
    ended: Deferred.await(end),
    signal: (signal) => void child.kill(signal),
    saw: (stream, pattern) =>
      Effect.callback((resume) => {
        const look = () => {
          const found = pattern.exec(text[stream])
          if (found !== null) {
            watchers.delete(look)
            resume(Effect.succeed(found))
          } else if (child.exitCode !== null) {
            watchers.delete(look)
            resume(Effect.die(new Error(`Ended without ${pattern}: ${text.stderr}`)))
          }
        }
        watchers.add(look)
        look()
      })
  }
}

const pidOf = (home: Home): number | undefined =>
  existsSync(home.pid) ? Number(readFileSync(home.pid, "utf8")) : undefined

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    // A child that nobody waited for yet is gone all the same.
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"))
  } catch {
    return false
  }
}

const gone = (pid: number): Effect.Effect<void> => until(() => !isAlive(pid))

/** Hands what the installation left behind to the scan; the key file is the one place for its key. */
const collect = (home: Home): void => {
  if (existsSync(home.keys)) Canary.register("root_key", readFileSync(home.keys, "utf8").trim().split(":")[1] ?? "")
  if (!existsSync(home.data)) return
  for (const name of readdirSync(home.data)) {
    if (name.startsWith("valetkey.db")) Emitted.recordFile(join(home.data, name))
  }
  for (const log of [home.log, `${home.log}.1`]) Emitted.recordFile(log)
}
