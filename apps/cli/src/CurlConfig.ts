import { Effect } from "effect"
import * as Command from "effect/cli/Command"
import { helperParameters, ownForm, tokenOf } from "./CredentialHelper.ts"
import { Output } from "./Output.ts"
import { authorizationOf } from "./TokenText.ts"

/** `valetkey curl-config`: a configuration of curl that has the token in it, so that no argument has. */
export const CurlConfig = Command.make(
  "curl-config",
  helperParameters,
  ({ minValidity, name }) =>
    Effect.gen(function*() {
      yield* ownForm
      const token = yield* tokenOf(name, minValidity)
      const header = `Authorization: ${authorizationOf(token)}`.replace(/["\\]/g, "\\$&")
      yield* (yield* Output).data(`header = "${header}"`)
    })
).pipe(
  Command.withDescription("Print a curl configuration with the Authorization header"),
  Command.withExamples([
    {
      command: "valetkey curl-config notes | curl --config - https://notes.example.com",
      description: "A request whose arguments hold no token"
    }
  ])
)
