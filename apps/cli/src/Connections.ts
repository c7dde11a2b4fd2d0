import type { ConnectionView } from "@valetkey/api/ConnectionsApi"
import { DateTime, Effect, Option } from "effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import { fromClient } from "./CliFailure.ts"
import { connectionDocument } from "./Documents.ts"
import { Output, plain, table } from "./Output.ts"
import { withClient } from "./Target.ts"
import { formatExpiry, formatScopes, formatStatus, Name } from "./Words.ts"

/** `valetkey list`: every connection. */
export const List = Command.make("list", {}, () => listAll).pipe(Command.withDescription("List the connections"))

/** `valetkey status`: every connection, or one in detail. */
export const Status = Command.make(
  "status",
  { name: Name.pipe(Argument.optional) },
  ({ name }) => Option.match(name, { onNone: () => listAll, onSome: showOne })
).pipe(
  Command.withDescription("Show the health of the connections, or of one")
)

/** `valetkey disconnect`: refuse tokens at once, revoke, forget. */
export const Disconnect = Command.make(
  "disconnect",
  { name: Name },
  ({ name }) =>
    withClient({ start: true }, (client) =>
      Effect.gen(function*() {
        const output = yield* Output
        yield* client.disconnect(name).pipe(Effect.mapError(fromClient))
        yield* output.result(
          { ok: true, server: name, disconnected: true },
          `Disconnected ${name}; its tokens are being revoked`
        )
      }))
).pipe(Command.withDescription("Revoke and forget a connection"))

const listAll = withClient({ start: false }, (client) =>
  Effect.gen(function*() {
    const output = yield* Output
    const connections = yield* client.connections.pipe(Effect.mapError(fromClient))
    const now = yield* DateTime.now
    yield* output.result(
      { ok: true, connections: connections.map(connectionDocument) },
      connections.length === 0 ? "" : table([
        ["NAME", "STATUS", "TOKEN ENDS", "SCOPES"],
        ...connections.map((one) => [
          one.server,
          formatStatus(one),
          formatExpiry(one.expiresAt, now),
          formatScopes(one.scopes)
        ])
      ])
    )
    if (connections.length === 0) yield* output.say("Nothing is connected. Begin with: valetkey connect https://...")
  }))

const showOne = (name: string) =>
  withClient({ start: false }, (client) =>
    Effect.gen(function*() {
      const output = yield* Output
      const connection = yield* client.connection(name).pipe(Effect.mapError(fromClient))
      const now = yield* DateTime.now
      yield* output.result({ ok: true, connection: connectionDocument(connection) }, describe(connection, now))
    }))

const describe = (connection: ConnectionView, now: DateTime.Utc): string =>
  table([
    ["name", connection.server],
    ["status", formatStatus(connection)],
    ["token ends", formatExpiry(connection.expiresAt, now)],
    ["scopes", formatScopes(connection.scopes)],
    ["issuer", plain(connection.issuer)],
    ["client", plain(connection.clientId)],
    ["generation", String(connection.generation)],
    ["connected", DateTime.formatIso(connection.createdAt)],
    ["updated", DateTime.formatIso(connection.updatedAt)]
  ])
