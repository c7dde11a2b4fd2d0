import { type ConnectionKey, type Epoch, sealContext } from "@valetkey/domain/Connection"
import { endingOf, type OwedRevocation } from "@valetkey/domain/RevocationOutbox"
import { Effect } from "effect"
import type { Sql } from "../Database.ts"
import { connectionColumns, decodeConnection, ofKey } from "./connectionRows.ts"
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
  const [row] = yield* sql`SELECT ${connectionColumns(sql)} FROM connections
    WHERE ${ofKey(sql, key)} AND status <> 'revoking' FOR UPDATE`
  if (row === undefined) return settled.some(({ state }) => state === "cancelled")
  const { clientSecret, credentials, generation, grant, ...connection } = yield* decodeConnection(row)
  const context = (field: Parameters<typeof sealContext>[2], at: number) =>
    sealContext(key, connection.epoch, field, at)
  const owed: OwedRevocation = {
    id: endingOf(key, connection.epoch, generation),
    key,
    grant,
    accessTokenExpiresAt: credentials.expiresAt,
    accessToken: { sealed: credentials.accessToken, context: context("access_token", generation) },
    refreshToken: credentials.refreshToken && {
      sealed: credentials.refreshToken,
      context: context("refresh_token", generation)
    },
    clientSecret: clientSecret && { sealed: clientSecret, context: context("client_secret", 0) }
  }
  yield* insertRevocation(sql, owed, "disconnect")
  yield* sql`UPDATE connections
    SET status = 'revoking', reauth_reason = NULL, epoch = ${epoch}, access_token = NULL, refresh_token = NULL,
      client_secret = NULL, account = NULL, granted_at = NULL, refresh_expires_at = NULL, renew_at = NULL,
      ending_told = NULL, phase = 'idle', lease_until = NULL, not_before = NULL, attempts = 0, result_id = NULL,
      updated_at = clock_timestamp()
    WHERE ${ofKey(sql, key)}`
  return true
})
