import type { FlowStarted, FlowView } from "@valetkey/api/FlowsApi"
import { isTransient } from "@valetkey/client/ClientError"
import type { ValetkeyClient } from "@valetkey/client/ValetkeyClient"
import { Cause, Clock, DateTime, Duration, Effect, Exit, Option, Redacted } from "effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Browser from "./Browser.ts"
import { CliFailure, failure, fromClient, reworded } from "./CliFailure.ts"
import { connectionDocument } from "./Documents.ts"
import { Output, plain } from "./Output.ts"
import { withClient } from "./Target.ts"
import { formatDuration, formatScopes, slugOf } from "./Words.ts"

type Client = ValetkeyClient["Service"]

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
    const target = yield* targetOf(input.target, Option.getOrUndefined(input.name))
    yield* withClient({ start: true }, (client) =>
      Effect.gen(function*() {
        const output = yield* Output
        const { added, server } = yield* serverOf(client, target)
        const scopes = input.scope.flatMap((text) => text.split(/[\s,]+/)).filter((scope) => scope !== "")
        // From the start on, whoever goes away takes the flow along.
        yield* Effect.uninterruptibleMask((restore) =>
          Effect.gen(function*() {
            const started = yield* restore(client.start({
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
                  ? Effect.ignore(Effect.timeoutOption(client.removeServer(server), "3 seconds"))
                  : Effect.void
              )
            )
            if ("alreadyConnected" in started) {
              return yield* output.result(
                {
                  ok: true,
                  server,
                  status: "completed",
                  alreadyConnected: true,
                  grantedScopes: started.connection.scopes ?? [],
                  connection: connectionDocument(started.connection)
                },
                `Already connected to ${server}`
              )
            }
            if (!("authorizationUrl" in started)) {
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
                authorizationUrl: Redacted.value(started.authorizationUrl),
                expiresAt: DateTime.formatIso(started.expiresAt)
              }, "")
            }
            const flow = yield* restore(accompany(client, server, started, input.noBrowser)).pipe(
              Effect.onExit((exit) =>
                Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause)
                  ? client.cancel(started.flowId).pipe(
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
      }))
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
  client: Client,
  { server, url }: { readonly server: string; readonly url: URL | undefined }
) {
  if (url === undefined) return { server, added: false }
  const found = yield* client.server(server).pipe(
    Effect.catchTag(
      "ApiProblem",
      (problem) => problem.code === "server_not_found" ? Effect.undefined : Effect.fail(problem)
    ),
    Effect.mapError(fromClient)
  )
  if (found !== undefined) {
    if (URL.parse(found.resource)?.href === url.href) return { server, added: false }
    return yield* failure(
      "name_taken",
      `The name ${server} belongs to ${plain(found.resource)}; choose another with --name`
    )
  }
  const added = yield* client.putServer(server, { resource: url.href }).pipe(Effect.mapError(fromClient))
  return { server, added }
})

const explainStart = (error: Parameters<typeof fromClient>[0]): CliFailure => {
  const told = fromClient(error)
  switch (told.code) {
    case "server_not_found":
      return reworded(told, `${told.sentence}, or connect by its URL: valetkey connect https://...`)
    case "flow_conflict":
      return reworded(told, `${told.sentence} (--replace ends it)`)
    default:
      return told
  }
}

/** Shows the URL, opens it and waits until the flow is settled. */
const accompany = Effect.fnUntraced(function*(
  client: Client,
  server: string,
  started: typeof FlowStarted.Type,
  noBrowser: boolean
) {
  const output = yield* Output
  const url = Redacted.value(started.authorizationUrl)
  if (noBrowser) {
    yield* output.say("Open this URL to give consent:")
    yield* output.data(plain(url))
  } else {
    yield* output.say(`Opening the browser to connect ${server}`)
    yield* Browser.open(url).pipe(
      Effect.catch((error) =>
        error.code === "browser_unavailable" && /^https?:/.test(url)
          ? output.say(`${error.message}: ${plain(url)}`)
          : Effect.fail(error)
      )
    )
  }
  yield* output.say("Waiting for consent; press Ctrl+C to cancel")
  const deadline = DateTime.toEpochMillis(started.expiresAt)
  return yield* Effect.raceFirst(poll(client, started.flowId, deadline), progress(deadline))
})

/** Asks until the flow is settled. A broken way is asked again, a definite answer ends it at once. */
const poll = Effect.fnUntraced(function*(client: Client, id: FlowView["flowId"], deadline: number) {
  let brokenSince: number | undefined
  let pause = 100
  while (true) {
    const now = yield* Clock.currentTimeMillis
    // The server settles an overdue flow; the extra seconds leave it the time to do so.
    if (now > deadline + 10_000) return yield* failure("flow_expired", "Nobody gave consent in time; start again")
    const answer = yield* Effect.result(client.flow(id, { wait: "25 seconds" }))
    if (answer._tag === "Success") {
      brokenSince = undefined
      pause = 100
      if (isSettled(answer.success)) return answer.success
      continue
    }
    if (!isTransient(answer.failure)) return yield* fromClient(answer.failure)
    brokenSince ??= now
    if (now - brokenSince > brokenFor) return yield* fromClient(answer.failure)
    yield* Effect.sleep(Duration.millis(pause))
    pause = Math.min(pause * 2, 2000)
  }
})

const isSettled = ({ status }: FlowView): boolean =>
  status !== "pending" && status !== "exchanging" && status !== "awaiting_finalize"

/** How long the way to the server may stay broken, such as while it restarts. */
const brokenFor = 20_000

/** Tells how long it took and how long is left. */
const progress = Effect.fnUntraced(function*(deadline: number) {
  const output = yield* Output
  const began = yield* Clock.currentTimeMillis
  for (let frame = 0;; frame++) {
    yield* Effect.sleep(output.watched ? "120 millis" : "30 seconds")
    const now = yield* Clock.currentTimeMillis
    const elapsed = formatDuration(Duration.millis(now - began))
    const left = formatDuration(Duration.millis(deadline - now))
    yield* output.watched
      ? output.status(`${spinner[frame % spinner.length] ?? ""} ${elapsed} elapsed, ${left} left`)
      : output.say(`Still waiting: ${elapsed} elapsed, ${left} left`)
  }
}) as (deadline: number) => Effect.Effect<never, never, Output>

const spinner = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"]

/** The end of the story: the connection, or why there is none. */
const report = Effect.fnUntraced(function*(server: string, flow: FlowView) {
  const output = yield* Output
  yield* output.status("")
  switch (flow.status) {
    case "completed": {
      const scopes = flow.connection?.scopes
      return yield* output.result({
        ok: true,
        server,
        flowId: flow.flowId,
        status: flow.status,
        grantedScopes: scopes ?? [],
        ...(flow.connection === undefined ? {} : { connection: connectionDocument(flow.connection) })
      }, `Connected to ${server}${scopes === undefined ? "" : ` (scopes: ${formatScopes(scopes)})`}`)
    }
    case "failed":
      return yield* new CliFailure({
        code: flow.failure?.code ?? "internal",
        sentence: flow.failure?.message ?? "The flow failed; the server's log has the cause",
        details: { flowId: flow.flowId, status: flow.status }
      })
    case "expired":
      return yield* failure("flow_expired", "Nobody gave consent in time; start again", { flowId: flow.flowId })
    case "superseded":
      return yield* failure("flow_superseded", "Another command took over the connecting", { flowId: flow.flowId })
    case "outcome_unknown":
      return yield* failure(
        "flow_outcome_unknown",
        "The provider was asked for the credentials and its answer is lost; start again",
        { flowId: flow.flowId }
      )
    default:
      return yield* failure("flow_cancelled", "The flow was cancelled", { flowId: flow.flowId })
  }
})
