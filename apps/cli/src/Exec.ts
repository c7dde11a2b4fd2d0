import { Effect } from "effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { constants } from "node:os"
import { ChildExit } from "./ChildExit.ts"
import { failure } from "./CliFailure.ts"
import * as Interrupts from "./Interrupts.ts"
import { Output } from "./Output.ts"
import { fetchToken, MinValidity } from "./Token.ts"
import { Name } from "./Words.ts"

/** `valetkey exec`: a command with a fresh token in its environment, and nowhere else. */
export const Exec = Command.make("exec", {
  name: Name,
  env: Flag.String("env").pipe(
    Flag.withMetavar("VAR"),
    Flag.withDescription("Variable that holds the token"),
    Flag.withDefault("ACCESS_TOKEN")
  ),
  minValidity: MinValidity,
  command: Argument.String("command").pipe(
    Argument.withDescription("The command and its arguments, after --"),
    Argument.atLeast(1)
  )
}, ({ command, env, minValidity, name }) =>
  Effect.gen(function*() {
    const output = yield* Output
    if (output.json) {
      return yield* failure("usage", "exec takes no --json: stdout belongs to the command that it runs")
    }
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(env)) {
      return yield* failure("usage", "--env must be the name of an environment variable")
    }
    const token = yield* fetchToken(name, minValidity)
    const code = yield* run(command, { [env]: token.accessToken })
    return yield* new ChildExit({ exitCode: code })
  })).pipe(
    Command.withDescription("Run a command with a fresh access token in its environment"),
    Command.withExamples([
      { command: "valetkey exec notes --env NOTES_TOKEN -- node sync.js", description: "Run a script" }
    ])
  )

const forwarded = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const

/** Runs without a shell, forwards signals and returns the exit code; a signal counts as 128 and its number. */
const run = Effect.fnUntraced(function*(command: ReadonlyArray<string>, secret: Readonly<Record<string, string>>) {
  const [file = "", ...args] = command
  const { spawn } = yield* Effect.promise(() => import("node:child_process"))
  return yield* Effect.uninterruptible(Effect.callback<number, ReturnType<typeof failure>>((resume) => {
    const child = spawn(file, args, {
      stdio: "inherit",
      shell: false,
      // What opens other people's tokens is not the child's business.
      env: {
        ...process.env,
        VALETKEY_TOKEN: undefined,
        VALETKEY_KEYS: undefined,
        VALETKEY_KEYS_WRAPPED: undefined,
        VALETKEY_JWT_SECRET: undefined,
        ...secret
      }
    })
    Interrupts.own()
    const forward = (signal: NodeJS.Signals) => void child.kill(signal)
    for (const signal of forwarded) process.on(signal, forward)
    const done = () => {
      for (const signal of forwarded) process.off(signal, forward)
    }
    child.on("error", (error: NodeJS.ErrnoException) => {
      done()
      const why = error.code === "ENOENT" ? "was not found" : "could not be started"
      resume(Effect.fail(failure("command_not_started", `The command ${why}`)))
    })
    child.on("exit", (code, signal) => {
      done()
      resume(Effect.succeed(code ?? 128 + (signal === null ? 0 : constants.signals[signal])))
    })
  }))
})
