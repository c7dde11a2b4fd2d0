import { Effect, Option } from "effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { failure } from "./CliFailure.ts"
import { Output } from "./Output.ts"

/** `valetkey mcp`: a remote MCP server for a client that starts programs and speaks with them over stdio. */
export const Mcp = Command.make("mcp", {
  target: Argument.String("url-or-name").pipe(Argument.withDescription("URL of the MCP server, or its name")),
  endpoint: Flag.String("endpoint").pipe(
    Flag.withMetavar("URL"),
    Flag.withDescription("The MCP endpoint of a name, where it is not the resource itself"),
    Flag.optional
  ),
  noBrowser: Flag.Boolean("no-browser").pipe(
    Flag.withDescription("Open no browser: where a consent is missing, answer with the URL"),
    Flag.withDefault(false),
    Flag.withoutNegation
  )
}, ({ endpoint, noBrowser, target }) =>
  Effect.gen(function*() {
    if ((yield* Output).json) {
      return yield* failure("usage", "mcp takes no --json: stdout carries the messages of the MCP server")
    }
    const { bridge } = yield* Effect.promise(() => import("./Bridge.ts"))
    yield* bridge({ target, endpoint: Option.getOrUndefined(endpoint), noBrowser })
  })).pipe(
    Command.withDescription("Speak with a remote MCP server over stdin and stdout, with a fresh token"),
    Command.withExamples([
      { command: "valetkey mcp https://mcp.example.com/mcp", description: "As the command of an MCP client" },
      { command: "valetkey mcp notes --no-browser", description: "On a machine without a browser" }
    ])
  )
