import { Effect } from "effect"
import * as Command from "effect/cli/Command"
import { AddServer } from "./AddServer.ts"
import { Output, plain, table } from "./Output.ts"
import { everyPage } from "./Remote.ts"
import { ServerPresets } from "./ServerPresets.ts"
import { reach } from "./Target.ts"
import { operations, type Server } from "./Wire.ts"
import { formatScopes, Name } from "./Words.ts"

const ListServers = Command.make("list", {}, () =>
  Effect.gen(function*() {
    const output = yield* Output
    const remote = yield* reach({ start: false })
    const servers = yield* everyPage((after) => remote.call(operations.servers, after), (page) => page.servers)
    yield* output.result(
      { ok: true, servers },
      servers.length === 0 ? "" : table([
        ["NAME", "RESOURCE", "SCOPES"],
        ...servers.map((one) => [one.server, plain(one.resource), formatScopes(one.scopes)])
      ])
    )
    if (servers.length === 0) {
      yield* output.say(
        "There are no servers. Add one with: valetkey servers add NAME URL, or valetkey servers presets"
      )
    }
  })).pipe(
    Command.withDescription("List the servers"),
    Command.withExamples([{ command: "valetkey servers list", description: "What can be connected to" }])
  )

const ShowServer = Command.make("show", { name: Name }, ({ name }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const remote = yield* reach({ start: false })
    const server = yield* remote.call(operations.server, name)
    yield* output.result({ ok: true, server }, describe(server))
  })).pipe(
    Command.withDescription("Show one server"),
    Command.withExamples([{
      command: "valetkey servers show notes",
      description: "Its resource, issuer, client and scopes"
    }])
  )

const RemoveServer = Command.make("remove", { name: Name }, ({ name }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const remote = yield* reach({ start: true })
    yield* remote.call(operations.removeServer, name)
    yield* output.result({ ok: true, server: name, removed: true }, `Removed ${name}`)
  })).pipe(
    Command.withDescription("Remove a server; its connection stays until it is disconnected"),
    Command.withExamples([{ command: "valetkey servers remove notes", description: "After valetkey disconnect notes" }])
  )

/** `valetkey servers`: what a person can connect to. */
export const Servers = Command.make("servers").pipe(
  Command.withDescription("Manage what can be connected to"),
  Command.withSubcommands([ListServers, AddServer, ShowServer, RemoveServer, ServerPresets])
)

const describe = (server: Server): string =>
  table([
    ["name", server.server],
    ["resource", plain(server.resource)],
    ["issuer", server.issuer === undefined ? "discovered" : plain(server.issuer)],
    ["client", server.client === undefined ? "registered on first use" : plain(server.client.clientId)],
    ...(server.client?.publicKey === undefined
      ? []
      : [["public key", plain(JSON.stringify(server.client.publicKey))]]),
    ["scopes", formatScopes(server.scopes)],
    ["grant", server.grant === undefined ? "a person's consent" : server.grant.type],
    ["tokens", server.tokens === "proxied" ? "stay here" : "are handed out"],
    ["refresh tokens idle out", server.refreshTokenIdleLimit === undefined ? "-" : plain(server.refreshTokenIdleLimit)],
    ["grants end after", server.refreshTokenLifetime === undefined ? "-" : plain(server.refreshTokenLifetime)],
    ["renewed ahead", server.refreshAhead ?? "on_use"],
    ["another account", server.accountChange === "replace" ? "replaces" : "is refused"]
  ])
