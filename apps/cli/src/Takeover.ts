import { Effect } from "effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { failure } from "./CliFailure.ts"
import { Output, plain } from "./Output.ts"
import { reach } from "./Target.ts"
import { operations } from "./Wire.ts"

/** `valetkey takeover`: makes a copied or restored database this instance's own. */
export const Takeover = Command.make("takeover", {
  confirm: Flag.Boolean("confirm").pipe(
    Flag.withDescription("The other instance is gone for good, or never uses these connections again"),
    Flag.withDefault(false)
  )
}, ({ confirm }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const remote = yield* reach({ start: true })
    const { configured, stored } = yield* remote.call(operations.instance, undefined)
    if (configured !== stored && !confirm) {
      return yield* failure(
        "usage",
        `The database belongs to instance ${plain(stored)} and this is ${plain(configured)}; if the other one uses ` +
          "these connections as well, both lose them. Run valetkey takeover --confirm only if it is gone for good",
        { configured, stored }
      )
    }
    const found = configured === stored ? { configured, stored } : yield* remote.call(operations.takeOver, undefined)
    yield* output.result(
      { ok: true, instance: found.stored, takenOver: configured !== stored },
      configured === stored
        ? `The database is this instance's own already (${plain(stored)})`
        : `The database belongs to instance ${plain(found.stored)} now; it was that of ${plain(stored)}`
    )
    if (configured !== stored) {
      yield* output.say("Tokens that are still valid are served; a connection that cannot be refreshed asks its person")
    }
  })).pipe(
    Command.withDescription("Make a copied or restored database this instance's own"),
    Command.withExamples([{
      command: "valetkey takeover --confirm",
      description: "After a restore, when the other instance never comes back"
    }])
  )
