import * as Emitted from "@valetkey/testing/Emitted"
import { Deferred, Effect, Schema, type Scope } from "effect"
import { spawn } from "node:child_process"
import { type Environment, program } from "./Command.ts"

/** A `valetkey serve` that answers. */
export interface Serving {
  readonly pid: number
  /** What it said on stdout when it was ready. */
  readonly ready: Readonly<Record<string, unknown>>
  /** Everything it wrote so far. */
  readonly output: () => { readonly stdout: string; readonly stderr: string }
  /** Ends it in order and tells its exit code. Idempotent. */
  readonly stop: Effect.Effect<number>
}

/** The server ended before it was ready. */
export class NotServing extends Schema.TaggedError<NotServing>("valetkey/demo/NotServing")("NotServing", {
  code: Schema.Number,
  stdout: Schema.String,
  stderr: Schema.String
}) {
  override get message() {
    return `valetkey serve ended with ${this.code}: ${this.stdout.trim()} ${this.stderr.trim()}`
  }
}

/** How long a server has for an orderly end. */
const patience = "10 seconds"

/** Runs `valetkey serve` until the scope closes; returns when it is ready. */
export const start = (
  env: Environment,
  args: ReadonlyArray<string> = []
): Effect.Effect<Serving, NotServing, Scope.Scope> =>
  Effect.gen(function*() {
    const ready = yield* Deferred.make<Readonly<Record<string, unknown>>, NotServing>()
    const exited = yield* Deferred.make<number>()
    const output = { stdout: "", stderr: "" }
    const serving = yield* Effect.acquireRelease(
      Effect.sync((): Serving => {
        const child = spawn(process.execPath, [program, "serve", "--json", ...args], {
          stdio: ["ignore", "pipe", "pipe"],
          env: env as NodeJS.ProcessEnv
        })
        child.stdout.setEncoding("utf8").on("data", (text: string) => {
          output.stdout += text
          const line = /^(\{.*\})$/m.exec(output.stdout)?.[1]
          if (line !== undefined) Deferred.doneUnsafe(ready, Effect.succeed(JSON.parse(line)))
        })
        child.stderr.setEncoding("utf8").on("data", (text: string) => output.stderr += text)
        child.once("close", (code) => {
          Emitted.record("log", `${output.stdout}\n${output.stderr}`)
          Deferred.doneUnsafe(exited, Effect.succeed(code ?? 128))
          Deferred.doneUnsafe(ready, Effect.fail(new NotServing({ code: code ?? 128, ...output })))
        })
        return {
          pid: child.pid ?? 0,
          ready: {},
          output: () => ({ ...output }),
          stop: Effect.suspend(() => {
            child.kill("SIGTERM")
            return Deferred.await(exited)
          }).pipe(
            Effect.timeoutOrElse({
              duration: patience,
              orElse: () =>
                Effect.suspend(() => {
                  child.kill("SIGKILL")
                  return Deferred.await(exited)
                })
            })
          )
        }
      }),
      ({ stop }) => stop
    )
    return { ...serving, ready: yield* Deferred.await(ready) }
  })
