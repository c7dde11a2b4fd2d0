import { Effect } from "effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import { failure } from "./CliFailure.ts"
import { report } from "./FlowReport.ts"
import { Output } from "./Output.ts"
import * as PastedUrl from "./PastedUrl.ts"
import { reach } from "./Target.ts"
import { operations } from "./Wire.ts"

/** `valetkey callback`: hand over the address where a browser ended that could not reach its listener. */
export const Callback = Command.make("callback", {
  flowId: Argument.String("flow-id").pipe(
    Argument.withDescription("The flow, as `valetkey connect --no-browser` named it")
  )
}, ({ flowId }) =>
  Effect.gen(function*() {
    const output = yield* Output
    // An address in the place of the id would become part of the path of a request.
    if (/[/:?]/.test(flowId)) {
      return yield* failure("usage", "The id of the flow is the argument; the address comes by stdin")
    }
    if (PastedUrl.isOffered()) {
      yield* output.say("Paste the address where the browser ended, and press Enter")
    }
    const address = yield* PastedUrl.read
    const remote = yield* reach({ start: false })
    const flow = yield* remote.call(operations.paste, { flowId, address })
    yield* report(flow.server, flow)
  })).pipe(
    Command.withDescription(
      "Finish a flow by the address where its browser ended; reads it from stdin, never from an argument"
    ),
    Command.withExamples([
      {
        command: "valetkey callback 0199a2f0-0000-7000-8000-000000000000 < address.txt",
        description: "Finish what `valetkey connect notes --no-browser --json` began"
      }
    ])
  )
