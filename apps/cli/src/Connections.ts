import { Clock, Effect, Option } from "effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import { Output, plain, table } from "./Output.ts"
import { everyPage } from "./Remote.ts"
import { reach } from "./Target.ts"
import { type Connection, operations } from "./Wire.ts"
import { formatAccount, formatDate, formatExpiry, formatScopes, formatStatus, formatUse, Name } from "./Words.ts"

/** `valetkey list`: every connection. */
export const List = Command.make("list", {}, () => listAll).pipe(
  Command.withDescription("List the connections"),
  Command.withExamples([{ command: "valetkey list", description: "Every connection, with expiry and health" }, {
    command: "valetkey list --json",
    description: "The same for a program"
  }])
)

/** `valetkey status`: every connection, or one in detail. */
export const Status = Command.make(
  "status",
  { name: Name.pipe(Argument.optional) },
  ({ name }) => Option.match(name, { onNone: () => listAll, onSome: showOne })
).pipe(
  Command.withDescription("Show the health of the connections, or of one"),
  Command.withExamples([{
    command: "valetkey status notes",
    description: "One connection, with its scopes and why it needs consent"
  }])
)

const listAll = Effect.gen(function*() {
  const output = yield* Output
  const remote = yield* reach({ start: false })
  const connections = yield* everyPage(
    (after) => remote.call(operations.connections, after),
    (page) => page.connections
  )
  const now = yield* Clock.currentTimeMillis
  yield* output.result(
    { ok: true, connections },
    connections.length === 0 ? "" : table([
      ["NAME", "STATUS", "ACCOUNT", "TOKEN ENDS", "LAST USED", "SCOPES"],
      ...connections.map((one) => [
        one.server,
        formatStatus(one),
        formatAccount(one.account),
        formatExpiry(one.expiresAt, now),
        formatUse(one.lastUsedAt, now),
        formatScopes(one.scopes)
      ])
    ])
  )
  if (connections.length === 0) yield* output.say("Nothing is connected. Begin with: valetkey connect https://...")
})

const showOne = (name: string) =>
  Effect.gen(function*() {
    const output = yield* Output
    const remote = yield* reach({ start: false })
    const connection = yield* remote.call(operations.connection, name)
    const now = yield* Clock.currentTimeMillis
    yield* output.result({ ok: true, connection }, describe(connection, now))
  })

const replacementOf = (account: Connection["account"]): ReadonlyArray<ReadonlyArray<string>> =>
  account?.replacedAt === undefined ? [] : [["in place of another since", plain(account.replacedAt)]]

/** What is known of the end, in the words of whoever has to do something about it. */
const forecastOf = ({ forecast }: Connection, now: number): ReadonlyArray<ReadonlyArray<string>> => [
  ...(forecast?.idlesOutAt === undefined
    ? []
    : [["idles out", `${formatDate(forecast.idlesOutAt, now)}, unless it is renewed before`]]),
  ...(forecast?.signInBefore === undefined
    ? []
    : [["sign in again before", `${formatDate(forecast.signInBefore, now)}, at the latest`]])
]

const describe = (connection: Connection, now: number): string =>
  table([
    ["name", connection.server],
    ["status", formatStatus(connection)],
    ["account", formatAccount(connection.account)],
    ...replacementOf(connection.account),
    ["token ends", formatExpiry(connection.expiresAt, now)],
    ...forecastOf(connection, now),
    ["last used", formatUse(connection.lastUsedAt, now)],
    ["scopes", formatScopes(connection.scopes)],
    ["issuer", plain(connection.issuer)],
    ["client", plain(connection.clientId)],
    ["generation", String(connection.generation)],
    ["connected", plain(connection.createdAt)],
    ["updated", plain(connection.updatedAt)]
  ])
