import { Cause, Effect } from "effect"
import { ChildExit } from "./ChildExit.ts"
import { CliFailure, failure, textOf } from "./CliFailure.ts"
import { exitCodeOf } from "./ExitCode.ts"
import type { Output } from "./Output.ts"

/** Says how a command failed, in the form that was asked for, and gives its exit code. */
export const conclude = Effect.fnUntraced(function*(output: Output["Service"], cause: Cause.Cause<unknown>) {
  yield* output.status("")
  const error = errorOf(cause)
  if (error instanceof ChildExit) return error.exitCode
  const { code, details, message } = error
  if (output.json) yield* output.result({ ok: false, error: { code, message, ...details } }, "")
  else yield* output.say(`valetkey: ${textOf(error)}`)
  return exitCodeOf(code)
})

/** The error of a cause in the command's words. */
const errorOf = (cause: Cause.Cause<unknown>): CliFailure | ChildExit => {
  if (Cause.hasInterruptsOnly(cause)) return failure("interrupted", "Interrupted")
  const error = Cause.squash(cause)
  if (error instanceof CliFailure || error instanceof ChildExit) return error
  if (process.env["VALETKEY_DEBUG"] !== undefined) process.stderr.write(`${Cause.pretty(cause)}\n`)
  return new CliFailure({
    code: "internal",
    sentence: "Something went wrong inside the command; VALETKEY_DEBUG=1 shows what"
  })
}
