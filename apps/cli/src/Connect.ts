import { Cause, Effect, Exit, Option } from "effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { type CliFailure, failure, reworded } from "./CliFailure.ts"
import { accompany, leave } from "./Consent.ts"
import { linksOf, report } from "./FlowReport.ts"
import { Output } from "./Output.ts"
import type { Remote } from "./Remote.ts"
import { serverOf, targetOf } from "./ServerTarget.ts"
import { ShownWay } from "./ShownWay.ts"
import * as Ssh from "./Ssh.ts"
import { reach, resolve } from "./Target.ts"
import { type Flow, operations } from "./Wire.ts"

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
      Flag.withDescription(
        "How the answer comes back; the server decides by default. device: you enter a code on any device; paste: you carry the address where the browser ends. A flow that waits already goes on with it"
      ),
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
    const { _tag: place } = yield* resolve
    const remote = yield* reach({ start: true })
    const { added, server } = yield* serverOf(remote, target)
    const scopes = input.scope.flatMap((text) => text.split(/[\s,]+/)).filter((scope) => scope !== "")
    const pastes = Option.contains(input.transport, "paste")
    const noBrowser = input.noBrowser || pastes
    // The same flow: its listener waits too, for a browser that can reach it after all.
    const transport = pastes ? "loopback" : Option.getOrUndefined(input.transport)
    // From the start on, whoever goes away takes the flow along, unless another command goes on with it.
    yield* Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const started = yield* restore(
          remote.call(operations.start, {
            server,
            ...(transport === undefined ? {} : { transport }),
            ...(scopes.length === 0 ? {} : { scopes }),
            ...(input.replace ? { onConflict: "supersede" as const } : {}),
            ...(input.again ? { reauthorize: true } : {})
          }).pipe(
            // Other scopes would need another consent than the one that is waited for.
            Effect.catchIf(
              (told) => told.code === "flow_conflict" && transport !== undefined && scopes.length === 0,
              (told) => goOn(remote, told, transport!)
            )
          )
        ).pipe(
          Effect.mapError(explainStart),
          // A URL that leads nowhere does not keep the name that is meant for the right one. Where another command was
          // quicker to start, it leads somewhere.
          Effect.onExit((exit) =>
            added && Exit.isFailure(exit) && !isConflict(exit.cause)
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
        if (noBrowser && output.json) {
          return yield* output.result({
            ok: true,
            deferred: true,
            server,
            flowId: started.flowId,
            status: started.status,
            transport: started.transport,
            ...linksOf(started),
            expiresAt: started.expiresAt
          }, "")
        }
        const ssh = place === "local" ? Ssh.sessionOf(process.env) : undefined
        const way = new ShownWay(started)
        const flow = yield* restore(accompany(remote, server, way, { noBrowser, ssh })).pipe(
          Effect.onExit((exit) => Exit.isFailure(exit) && !isUnknown(exit.cause) ? leave(remote, way) : Effect.void)
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
    },
    {
      command: "valetkey connect notes --transport paste",
      description: "On a machine without a browser: open the URL elsewhere, paste the address where it ends"
    },
    {
      command: "valetkey connect notes --transport device",
      description: "Show a code to enter on any device, and wait"
    }
  ])
)

/** Continues the flow that is in the way with the transport that is wanted now. */
const goOn = Effect.fnUntraced(function*(remote: Remote, told: CliFailure, transport: Flow["transport"]) {
  const output = yield* Output
  const flowId = told.details?.["running"]
  if (typeof flowId !== "string") return yield* told
  const ready = yield* remote.call(operations.handOff, { flowId, transport })
  yield* output.say("Continuing the flow that was waiting; what was shown for it before leads nowhere any more")
  return ready
})

const isConflict = failedWith("flow_conflict")

/** Whether the flow is none that could be left open. */
const isUnknown = failedWith("flow_not_found")

function failedWith(wanted: string): (cause: Cause.Cause<CliFailure>) => boolean {
  return (cause) => Option.exists(Cause.findErrorOption(cause), ({ code }) => code === wanted)
}

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
