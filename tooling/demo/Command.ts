import * as Emitted from "@valetkey/testing/Emitted"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { join } from "node:path"

/** The `valetkey` command: the one that a test run has built, else the one of this checkout. */
export const program = process.env["VALETKEY_TEST_COMMAND"] ??
  join(import.meta.dirname, "../../apps/cli/bin/valetkey.cjs")

/** What a command that ended left behind. */
export interface Finished {
  readonly args: ReadonlyArray<string>
  /** The exit code; 128 and more for a signal, as a shell tells it. */
  readonly code: number
  readonly stdout: string
  readonly stderr: string
  readonly millis: number
}

/** Environment of a child process; what is undefined is not set. */
export type Environment = Readonly<Record<string, string | undefined>>

/** How a command is run. */
export interface CommandOptions {
  readonly env: Environment
  /** A signal for the command as soon as this completes. */
  readonly signal?: { readonly name: NodeJS.Signals; readonly when: Effect.Effect<unknown> } | undefined
  /** Sees what the command writes, as it comes. */
  readonly onOutput?: ((stream: "stdout" | "stderr", text: string) => void) | undefined
}

/** An environment with nothing of this process in it but the path. */
export const environment = (home: string, more: Environment = {}): Environment => ({
  PATH: process.env["PATH"],
  HOME: home,
  VALETKEY_HOME: home,
  ...more
})

/** Runs `valetkey` with these arguments to its end; it dies with the fiber. */
export const valetkey = (args: ReadonlyArray<string>, options: CommandOptions): Effect.Effect<Finished> =>
  Effect.callback<Finished>((resume) => {
    const started = performance.now()
    const child = spawn(process.execPath, [program, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: options.env as NodeJS.ProcessEnv
    })
    const output = { stdout: "", stderr: "" }
    for (const stream of ["stdout", "stderr"] as const) {
      child[stream].setEncoding("utf8").on("data", (text: string) => {
        output[stream] += text
        options.onOutput?.(stream, text)
      })
    }
    if (options.signal !== undefined) {
      const { name, when } = options.signal
      Effect.runFork(Effect.andThen(when, Effect.sync(() => child.kill(name))))
    }
    child.once("close", (code) => {
      record(args, output)
      resume(Effect.succeed({
        args,
        code: code ?? 128,
        ...output,
        millis: performance.now() - started
      }))
    })
    return Effect.sync(() => void child.kill("SIGKILL"))
  })

/** Hands what was printed to the canary scan of a test run; to hand out a token is what two of the commands are for. */
const record = (args: ReadonlyArray<string>, { stderr, stdout }: Pick<Finished, "stderr" | "stdout">): void => {
  Emitted.record("stderr", stderr)
  if (args[0] !== "token" && args[0] !== "exec") Emitted.record("stdout", stdout)
}
