import { Effect } from "effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import { failure } from "./CliFailure.ts"
import { Output } from "./Output.ts"

/** `valetkey probe`: what will work with a server, and what will not, before anybody connects. */
export const Probe = Command.make("probe", {
  url: Argument.String("url").pipe(Argument.withDescription("URL of the protected resource, such as an MCP server's"))
}, ({ url }) =>
  Effect.gen(function*() {
    const output = yield* Output
    // Egress and discovery are loaded here and by nothing else but `serve`.
    const { document, probed, text } = yield* Effect.promise(() => import("./ProbeReport.ts"))
    const report = yield* probed(url)
    const problems = report.findings.filter(({ state }) => state === "fail").length
    if (problems === 0) return yield* output.result({ ok: true, ...document(report) }, text(report))
    const sentence = `${problems} ${problems === 1 ? "thing keeps" : "things keep"} a connection from coming about`
    yield* output.json ? Effect.void : output.data(text(report))
    return yield* failure("probe_found_problems", sentence, document(report))
  })).pipe(
    Command.withDescription(
      "Read what a server says of itself and tell what will work. Nothing is registered and no credential is sent"
    ),
    Command.withExamples([{
      command: "valetkey probe https://mcp.example.com/mcp",
      description: "Metadata, PKCE, registration, scopes, and a draft preset"
    }])
  )
