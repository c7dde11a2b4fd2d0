import { Effect } from "effect"
import * as Command from "effect/cli/Command"
import { helperParameters, ownForm, tokenOf } from "./CredentialHelper.ts"
import { Output } from "./Output.ts"
import { authorizationOf } from "./TokenText.ts"

/** `valetkey headers`: the headers of a request as one JSON object, for clients that run a command for them. */
export const Headers = Command.make("headers", helperParameters, ({ minValidity, name }) =>
  Effect.gen(function*() {
    yield* ownForm
    const token = yield* tokenOf(name, minValidity)
    yield* (yield* Output).data(JSON.stringify({ Authorization: authorizationOf(token) }))
  })).pipe(
    Command.withDescription("Print the headers of a request as a JSON object"),
    Command.withExamples([
      { command: "valetkey headers notes", description: "As the headersHelper of an MCP client" }
    ])
  )
