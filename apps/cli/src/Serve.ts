import { variables } from "@valetkey/server/Variables"
import { Effect } from "effect"
import * as Command from "effect/cli/Command"
import { CliFailure } from "./CliFailure.ts"
import * as Interrupts from "./Interrupts.ts"

/** `valetkey serve`: the server in the foreground. It is loaded here and by nothing else. */
export const Serve = Command.make("serve", {}, () =>
  Effect.gen(function*() {
    Interrupts.own()
    const { foreground } = yield* Effect.promise(() => import("./Foreground.ts"))
    yield* foreground.pipe(
      Effect.mapError((error) => new CliFailure({ code: error.code, sentence: error.message }))
    )
  })).pipe(
    Command.withShortDescription("Run a server in the foreground"),
    Command.withDescription(
      `Run a server in the foreground: the local profile unless DATABASE_URL is set.\n\nEnvironment:\n${
        variables.map(({ expected, fallback, name, sentence }) =>
          `  ${name}\n      ${sentence}\n      Expected: ${expected}. Default: ${fallback}.`
        ).join("\n")
      }`
    ),
    Command.withExamples([
      { command: "valetkey serve", description: "The local server of this user, until Ctrl+C" },
      {
        command: "DATABASE_URL=postgres://… VALETKEY_PUBLIC_URL=https://valetkey.example.com valetkey serve",
        description: "One of many replicas on a database"
      }
    ])
  )
