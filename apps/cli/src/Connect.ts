import { Cause, Effect, Exit, Option } from "effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { CliFailure, failure, reworded } from "./CliFailure.ts"
import { accompany } from "./Consent.ts"
import { Output, plain } from "./Output.ts"
import type { Remote } from "./Remote.ts"
import { reach } from "./Target.ts"
import { type Flow, operations } from "./Wire.ts"
import { formatScopes, slugOf } from "./Words.ts"

/** `valetkey connect`: start, open the browser, wait. */
export const Connect = Command.make(
  "connect",
  {
    target: Argument.String("url-or-name").pipe(Argument.withDescription("URL of what to connect to, or its name")),
    name: Flag.String("name").pipe(
      Flag.withDescription("Name to give to a URL; derived from it by default"),
      Flag.optional
    ),
    transport: Flag.Literals("transport", ["loopback", "gateway", "device", "paste"]).pipe(
      Flag.withDescription("How the answer comes back; the server decides by default"),
      Flag.optional
    ),
    scope: Flag.String("scope").pipe(Flag.withDescription("Scope to ask for; may be repeated"), Flag.atLeast(0)),
    noBrowser: Flag.Boolean("no-browser").pipe(
      Flag.withDescription("Print the URL and open nothing"),
      Flag.withDefault(false),
      Flag.withoutNegation
    ),
    replace: Flag.Boolean("replace").pipe(
      Flag.withDescription("End a flow of this connection that is still open"),
      Flag.withDefault(false),
      Flag.withoutNegation
    ),
    again: Flag.Boolean("again").pipe(
      Flag.withDescription("Ask for consent although the connection works"),
      Flag.withDefault(false),
      Flag.withoutNegation
    )
  },
  Effect.fnUntraced(function*(input) {
    const output = yield* Output
    const target = yield* targetOf(input.target, Option.getOrUndefined(input.name))
    const remote = yield* reach({ start: true })
    const { added, server } = yield* serverOf(remote, target)
    const scopes = input.scope.flatMap((text) => text.split(/[\s,]+/)).filter((scope) => scope !== "")
    // From the start on, whoever goes away takes the flow along.
    yield* Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const started = yield* restore(remote.call(operations.start, {
          server,
          ...Option.match(input.transport, { onNone: () => ({}), onSome: (transport) => ({ transport }) }),
          ...(scopes.length === 0 ? {} : { scopes }),
          ...(input.replace ? { onConflict: "supersede" as const } : {}),
          ...(input.again ? { reauthorize: true } : {})
        })).pipe(
          Effect.mapError(explainStart),
          // A URL that leads nowhere does not keep the name that is meant for the right one.
          Effect.onExit((exit) =>
            added && Exit.isFailure(exit)
              ? Effect.ignore(Effect.timeoutOption(remote.call(operations.removeServer, server), "3 seconds"))
              : Effect.void
          )
        )
        if ("alreadyConnected" in started) {
          const { connection } = started
          return yield* output.result({
            ok: true,
            server,
            status: "completed",
            alreadyConnected: true,
            grantedScopes: connection.scopes ?? [],
            connection
          }, `Already connected to ${server}`)
        }
        if ("joined" in started) {
          return yield* failure("flow_superseded", "Another command is connecting this server")
        }
        if (input.noBrowser && output.json) {
          return yield* output.result({
            ok: true,
            deferred: true,
            server,
            flowId: started.flowId,
            status: started.status,
            transport: started.transport,
            ...("connectUrl" in started
              ? { connectUrl: started.connectUrl, compareCode: started.compareCode }
              : { authorizationUrl: started.authorizationUrl }),
            expiresAt: started.expiresAt
          }, "")
        }
        const { expiresAt, flowId } = started
        const asked = "connectUrl" in started
          ? { flowId, expiresAt, url: started.connectUrl, compareCode: started.compareCode }
          : { flowId, expiresAt, url: started.authorizationUrl }
        const flow = yield* restore(accompany(remote, server, asked, input.noBrowser)).pipe(
          Effect.onExit((exit) =>
            Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause)
              ? remote.call(operations.cancel, flowId).pipe(
                Effect.timeoutOption("3 seconds"),
                Effect.ignore,
                Effect.andThen(output.say("Cancelled"))
              )
              : Effect.void
          )
        )
        yield* report(server, flow)
      })
    )
  })
).pipe(
  Command.withDescription("Connect to a server: get a person's consent, once"),
  Command.withExamples([
    { command: "valetkey connect https://mcp.example.com/mcp", description: "Connect by URL" },
    {
      command: "valetkey connect notes --scope read --no-browser",
      description: "Print the URL in place of opening it"
    }
  ])
)

/** A URL with the name it is to have, or the name of what is there already. */
const targetOf = Effect.fnUntraced(function*(target: string, chosen: string | undefined) {
  if (!target.includes("://")) {
    if (chosen !== undefined) return yield* failure("usage", "--name goes with a URL")
    return { server: target, url: undefined }
  }
  const url = URL.parse(target)
  if (url === null || (url.protocol !== "https:" && url.protocol !== "http:")) {
    return yield* failure("usage", "The URL must begin with https:// or http://")
  }
  url.hash = ""
  return { server: chosen ?? slugOf(url), url }
})

/** The name of what to connect to; a URL that is new is added under its name. */
const serverOf = Effect.fnUntraced(function*(
  remote: Remote,
  { server, url }: { readonly server: string; readonly url: URL | undefined }
) {
  if (url === undefined) return { server, added: false }
  const found = yield* remote.call(operations.server, server).pipe(
    Effect.catch((error) => error.code === "server_not_found" ? Effect.undefined : Effect.fail(error))
  )
  if (found !== undefined) {
    if (URL.parse(found.resource)?.href === url.href) return { server, added: false }
    return yield* failure(
      "name_taken",
      `The name ${server} belongs to ${plain(found.resource)}; choose another with --name`
    )
  }
  const { created } = yield* remote.call(operations.putServer, { server, description: { resource: url.href } })
  return { server, added: created }
})

const explainStart = (told: CliFailure): CliFailure => {
  switch (told.code) {
    case "server_not_found":
      return reworded(told, `${told.sentence}, or connect by its URL: valetkey connect https://...`)
    case "flow_conflict":
      return reworded(told, `${told.sentence} (--replace ends it)`)
    default:
      return told
  }
}

/** The end of the story: the connection, or why there is none. */
const report = Effect.fnUntraced(function*(server: string, flow: Flow) {
  const output = yield* Output
  const { connection, flowId, status } = flow
  yield* output.status("")
  switch (status) {
    case "completed":
      return yield* output.result(
        {
          ok: true,
          server,
          flowId,
          status,
          grantedScopes: connection?.scopes ?? [],
          ...(connection === undefined ? {} : { connection })
        },
        `Connected to ${server}${
          connection?.scopes === undefined ? "" : ` (scopes: ${formatScopes(connection.scopes)})`
        }`
      )
    case "failed":
      return yield* new CliFailure({
        code: flow.failure?.code ?? "internal",
        sentence: flow.failure?.message ?? "The flow failed; the server's log has the cause",
        details: { flowId, status }
      })
    case "expired":
      return yield* failure("flow_expired", "Nobody gave consent in time; start again", { flowId })
    case "superseded":
      return yield* failure("flow_superseded", "Another command took over the connecting", { flowId })
    case "outcome_unknown":
      return yield* failure(
        "flow_outcome_unknown",
        "The provider was asked for the credentials and its answer is lost; start again",
        { flowId }
      )
    default:
      return yield* failure("flow_cancelled", "The flow was cancelled", { flowId })
  }
})
