import { serve } from "@valetkey/server/Serve"
import { Effect, Exit } from "effect"
import { CliFailure } from "./CliFailure.ts"
import { conclude } from "./Conclusion.ts"
import { ExitCode } from "./ExitCode.ts"
import { Output } from "./Output.ts"
import { version } from "./Version.ts"

/** The server in the foreground; in JSON mode it says when it is ready. */
export const foreground = Effect.gen(function*() {
  const output = yield* Output
  yield* serve({
    env: process.env,
    version,
    onReady: (ready) => output.json ? output.result({ ok: true, ...ready }, "") : Effect.void
  })
})

/** `valetkey serve` and nothing more: without the parser of the command line, which a server would carry for its life. */
export const main = (json: boolean): void => {
  // As in every other command, what ends a server is its own affair, and a terminal that closes does not.
  process.on("SIGHUP", () => {})
  const run = Effect.gen(function*() {
    const output = yield* Output
    const exit = yield* foreground.pipe(
      Effect.mapError((error) => new CliFailure({ code: error.code, sentence: error.message })),
      Effect.exit
    )
    return Exit.isSuccess(exit) ? ExitCode.ok : yield* conclude(output, exit.cause)
  })
  Effect.runFork(Effect.provide(run, Output.layer({ json }))).addObserver((exit) =>
    process.exit(Exit.isSuccess(exit) ? exit.value : ExitCode.failure)
  )
}
