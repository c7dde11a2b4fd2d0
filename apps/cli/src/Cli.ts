import { Cause, Effect, Exit, Fiber, FileSystem, Layer, Path, Stdio, Terminal } from "effect"
import * as CliConfig from "effect/cli/CliConfig"
import * as CliError from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import { ApiKeys } from "./ApiKeys.ts"
import { Audit } from "./Audit.ts"
import { Callback } from "./Callback.ts"
import { conclude } from "./Conclusion.ts"
import { Connect } from "./Connect.ts"
import { List, Status } from "./Connections.ts"
import { Console } from "./Console.ts"
import { CurlConfig } from "./CurlConfig.ts"
import { Disconnect } from "./Disconnect.ts"
import { DockerCredential } from "./DockerCredential.ts"
import { Doctor } from "./Doctor.ts"
import { Exec } from "./Exec.ts"
import { ExitCode } from "./ExitCode.ts"
import { Export } from "./Export.ts"
import { GitCredential } from "./GitCredential.ts"
import { Headers } from "./Headers.ts"
import { History } from "./History.ts"
import { Import } from "./Import.ts"
import * as Interrupts from "./Interrupts.ts"
import { explain } from "./Invocation.ts"
import { Keys } from "./Keys.ts"
import { KubectlCredential } from "./KubectlCredential.ts"
import { Mcp } from "./Mcp.ts"
import { Output, plain } from "./Output.ts"
import { Probe } from "./Probe.ts"
import { Serve } from "./Serve.ts"
import { Servers } from "./Servers.ts"
import { Service } from "./Service.ts"
import { Takeover } from "./Takeover.ts"
import { globalFlags } from "./Target.ts"
import { Tenants } from "./Tenants.ts"
import { Token } from "./Token.ts"
import { version } from "./Version.ts"

const Valetkey = Command.make("valetkey").pipe(
  Command.withDescription("Connect once; ask for fresh tokens from then on."),
  Command.withSubcommands([
    Connect,
    Callback,
    Token,
    Exec,
    Mcp,
    Headers,
    CurlConfig,
    GitCredential,
    DockerCredential,
    KubectlCredential,
    List,
    Status,
    History,
    Console,
    Disconnect,
    Export,
    Import,
    Servers,
    Probe,
    ApiKeys,
    Audit,
    Keys,
    Serve,
    Service,
    Doctor,
    Takeover,
    Tenants
  ]),
  Command.withGlobalFlags(globalFlags)
)

/**
 * Runs a command line and returns its exit code. Everything that is printed goes through `Output`; `onInterrupt` takes
 * what a signal must call.
 */
const run = (args: ReadonlyArray<string>, onInterrupt: (interrupt: () => void) => void): Effect.Effect<number> =>
  Effect.gen(function*() {
    const output = yield* Output
    const command = yield* Effect.forkChild(
      Command.runWith(Valetkey, { version })(args).pipe(Effect.provide(layerPresenter(output)))
    )
    onInterrupt(() => command.interruptUnsafe())
    return yield* Fiber.await(command).pipe(
      Effect.flatMap((exit) => {
        if (Exit.isSuccess(exit)) return Effect.succeed(ExitCode.ok)
        return isPresented(exit.cause) ? Effect.succeed(ExitCode.usage) : conclude(output, exit.cause)
      })
    )
  }).pipe(
    Effect.provide([
      Output.layer({ json: wantsJson(args) }),
      CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions] }),
      layerPlatform
    ])
  )

/** Runs the command line of this process to its end. */
export const main = (): void => {
  let interrupt = () => {}
  const fiber = Effect.runFork(run(process.argv.slice(2), (act) => interrupt = act))
  let signals = 0
  const onSignal = () => {
    if (Interrupts.areOwned()) return
    signals++
    // The second one is from somebody who does not want to wait for the cancelling.
    if (signals > 1) process.exit(ExitCode.interrupted)
    interrupt()
  }
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, onSignal)
  fiber.addObserver((exit) => process.exit(Exit.isSuccess(exit) ? exit.value : ExitCode.failure))
}

/** Whether the presenter has said already what is wrong with the command line. */
const isPresented = (cause: Cause.Cause<unknown>): boolean => {
  const error = Cause.squash(cause)
  return CliError.isCliError(error) && error._tag === "ShowHelp"
}

/** Help that was asked for is data; what went wrong is talk. In JSON mode each is the one document. */
const layerPresenter = (output: Output["Service"]) => {
  const formatter = CliOutput.defaultFormatter({ colors: false })
  return CliOutput.layerPresenter({
    present: (event) => {
      switch (event._tag) {
        case "Version":
          return output.result({ ok: true, version: event.version }, event.version)
        case "Help": {
          const help = formatter.formatHelpDoc(event.helpDoc)
          if (event.reason === "Requested") return output.result({ ok: true, help }, help)
          return output.json
            ? output.result({ ok: false, error: { code: "usage", message: "A command is missing; see --help" } }, "")
            : output.say(help)
        }
        case "InvalidInvocation": {
          const message = plain(explain(event.errors, event.commandPath))
          const help = `${event.commandPath.join(" ")} --help`
          return output.json
            ? output.result({
              ok: false,
              error: { code: "usage", message: `${message}${message.endsWith("?") ? " See" : "; see"} ${help}` }
            }, "")
            : output.say(`valetkey: ${message}\nSee: ${help}`)
        }
      }
    }
  })
}

/** `--json` counts wherever it stands before `--`, also on a command line that is wrong otherwise. */
const wantsJson = (args: ReadonlyArray<string>): boolean => {
  const end = args.indexOf("--")
  return (end === -1 ? args : args.slice(0, end)).includes("--json")
}

// No command reads files, prompts or spawns through Effect's services; the real ones would be loaded for nothing.
const layerPlatform = Layer.mergeAll(
  FileSystem.layerNoop({}),
  Path.layer,
  Stdio.layerTest({}),
  Layer.succeed(
    Terminal.Terminal,
    Terminal.make({
      columns: Effect.succeed(80),
      rows: Effect.succeed(24),
      size: Effect.die("no terminal"),
      readInput: Effect.die("no terminal"),
      readLine: Effect.die("no terminal"),
      display: () => Effect.void
    })
  ),
  Layer.succeed(
    ChildProcessSpawner.ChildProcessSpawner,
    ChildProcessSpawner.make(() => Effect.die("no processes"))
  )
)
