import { Effect, Option } from "effect"
import type { Connection, ConnectionKey } from "../Connection.ts"
import { ConnectionStore } from "../ConnectionStore.ts"

/** The defect of a store, or of what stands before it, that answered with the row of somebody else. Names nobody. */
class ForeignRow extends Error {
  override readonly name = "ForeignRow"
  readonly code = "foreign_row"
  override readonly message =
    "The store answered with the row of another connection, and nothing of it was used; stop what stands between this server and its database, and check both"
}

/** The reads of the connection store, each answered with rows of its own or not at all: what use cases read by. */
export type OwnRows = Pick<ConnectionStore["Service"], "get" | "list">

/** Builds the reads. */
export const makeOwnRows: Effect.Effect<OwnRows, never, ConnectionStore> = Effect.map(ConnectionStore, (store) => ({
  get: (key) => Effect.flatMap(store.get(key), (found) => ownRow(key, found)),
  list: (input) => Effect.flatMap(store.list(input), (found) => ownRows(input, found))
}))

/** What was read for a key, if it is of that key. Dies otherwise: of a store that mixes rows up nothing can be handed to anybody. */
export const ownRow = (
  key: ConnectionKey,
  found: Option.Option<Connection>
): Effect.Effect<Option.Option<Connection>> =>
  Option.isNone(found) || isOwned(key, found.value) && found.value.key.server === key.server
    ? Effect.succeed(found)
    : refuse

/** The rows that were read for an owner. As `ownRow`. */
const ownRows = (owner: Owner, found: ReadonlyArray<Connection>): Effect.Effect<ReadonlyArray<Connection>> =>
  found.every((one) => isOwned(owner, one)) ? Effect.succeed(found) : refuse

type Owner = Pick<ConnectionKey, "subject" | "tenant">

const isOwned = ({ subject, tenant }: Owner, { key }: Connection): boolean =>
  key.tenant === tenant && key.subject === subject

const refuse = Effect.andThen(
  Effect.logError("the store answered with the row of another connection", { code: "foreign_row" }),
  Effect.suspend(() => Effect.die(new ForeignRow()))
)
