import { Effect, Option } from "effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { type CliFailure, failure, reworded } from "./CliFailure.ts"
import { Output } from "./Output.ts"
import { reach } from "./Target.ts"
import { render } from "./TokenText.ts"
import { operations } from "./Wire.ts"
import { Name, parseSeconds } from "./Words.ts"

/** Flag of how long a token must stay valid. */
export const MinValidity = Flag.String("min-validity").pipe(
  Flag.withMetavar("60s"),
  Flag.withDescription("How long the token must stay valid; default 30s"),
  Flag.optional
)

/** Asks for a token, for `token` and `exec`. */
export const fetchToken = (server: string, minValidity: Option.Option<string>) =>
  Effect.gen(function*() {
    const wanted = Option.map(minValidity, parseSeconds)
    if (Option.isSome(wanted) && wanted.value === undefined) {
      return yield* failure("usage", "--min-validity must be a number with s, m or h, such as 60s")
    }
    const seconds = Option.getOrUndefined(wanted)
    const remote = yield* reach({ start: true })
    return yield* remote.call(operations.token, {
      server,
      ...(seconds === undefined ? {} : { minValiditySeconds: seconds })
    }).pipe(
      Effect.mapError(reconnectHint(server))
    )
  })

/** Says besides with which command a person gives the consent that is missing. */
export const reconnectHint = (server: string) => (told: CliFailure): CliFailure =>
  told.code === "reauthorization_required" || told.code === "connection_not_found"
    ? reworded(told, `${told.sentence}: valetkey connect ${server}`)
    : told

/** `valetkey token`: the access token, fresh. */
export const Token = Command.make("token", {
  name: Name,
  minValidity: MinValidity,
  header: Flag.Boolean("header").pipe(
    Flag.withDescription("Print a ready Authorization header"),
    Flag.withDefault(false),
    Flag.withoutNegation
  )
}, ({ header, minValidity, name }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const token = yield* fetchToken(name, minValidity)
    const { document, text } = render(name, token, header)
    yield* output.result(document, text)
  })).pipe(
    Command.withDescription("Print a fresh access token"),
    Command.withExamples([
      { command: "valetkey token notes", description: "The token" },
      {
        command: "valetkey token notes --header | curl -H @- https://notes.example.com",
        description: "A request whose arguments hold no token"
      }
    ])
  )
