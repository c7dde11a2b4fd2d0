import type { ConnectionKey, Epoch } from "@valetkey/domain/Connection"
import { endingRevocation } from "@valetkey/domain/RevocationOutbox"
import { Effect } from "effect"
import type { Sql } from "../Database.ts"
import { connectionColumns, decodeConnection, ofKey, writeConnection } from "./connectionRows.ts"
import { openCondition, overdueCondition, overdueState, settledColumns } from "./flowRows.ts"
import { insertRevocation } from "./revocationRows.ts"

/**
 * Ends a connection under a new epoch: its open flow is cancelled, and its tokens move to the outbox. False when there was
 * nothing to end. Flows first, then the connection: the order in which a completing flow locks them.
 */
export const endConnection = Effect.fnUntraced(function*(sql: Sql, key: ConnectionKey, epoch: Epoch) {
  const settled = yield* sql<{ state: string }>`UPDATE flows SET ${sql.literal(settledColumns)},
      state = CASE WHEN ${sql.literal(overdueCondition)} THEN ${sql.literal(overdueState)} ELSE 'cancelled' END
    WHERE ${ofKey(sql, key)} AND latest AND ${sql.literal(openCondition)}
    RETURNING state`
  if (!(yield* oweConnection(sql, key))) return settled.some(({ state }) => state === "cancelled")
  yield* sql`UPDATE connections
    SET status = 'revoking', reauth_reason = NULL, epoch = ${epoch}, access_token = NULL, refresh_token = NULL,
      client_secret = NULL, account = NULL, granted_at = NULL, refresh_expires_at = NULL, renew_at = NULL,
      ending_told = NULL, phase = 'idle', lease_until = NULL, not_before = NULL, attempts = 0, result_id = NULL,
      updated_at = clock_timestamp()
    WHERE ${ofKey(sql, key)}`
  return true
})

/**
 * Writes a connection in the place of another, whose tokens move to the outbox. False when the generation is another one;
 * then nothing is owed.
 */
export const replaceConnection = Effect.fnUntraced(function*(
  sql: Sql,
  key: ConnectionKey,
  write: Parameters<typeof writeConnection>[2]
) {
  const [row] = yield* sql`SELECT generation FROM connections WHERE ${ofKey(sql, key)} FOR UPDATE`
  if ((row?.["generation"] ?? 0) !== write.previous) return false
  yield* oweConnection(sql, key)
  return yield* writeConnection(sql, key, write)
})

/** Moves what a connection holds to the outbox and locks its row. False when there is nothing to end. */
const oweConnection = Effect.fnUntraced(function*(sql: Sql, key: ConnectionKey) {
  const [row] = yield* sql`SELECT ${connectionColumns(sql)} FROM connections
    WHERE ${ofKey(sql, key)} AND status <> 'revoking' FOR UPDATE`
  if (row === undefined) return false
  yield* insertRevocation(sql, endingRevocation(yield* decodeConnection(row)), "disconnect")
  return true
})
