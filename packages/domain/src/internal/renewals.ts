import { DateTime, Duration } from "effect"
import { type Connection, isRenewable } from "../Connection.ts"
import { aheadOf, aheadPace, isDue as isNearEnd } from "../RefreshAhead.ts"

/** Attempts that are remembered; a forgotten one may be made again too early. */
const remembered = 10_000

/** Which tokens this process renews ahead of their end, and how soon after the last attempt. */
export const makeRenewals = (ahead: Duration.Duration) => {
  const attempted = new Map<string, number>()
  const nameOf = ({ epoch, generation, key }: Connection) => `${key.path} ${epoch} ${generation}`

  const isDue = (connection: Connection, now: DateTime.Utc): boolean => {
    const { credentials, status } = connection
    if (status._tag !== "active" || !isRenewable(connection)) return false
    if (!isNearEnd(credentials, { ahead, name: () => nameOf(connection), now })) return false
    const last = attempted.get(nameOf(connection))
    // By the distance, so that a clock that was set back keeps nobody waiting.
    return last === undefined || Math.abs(DateTime.toEpochMillis(now) - last) >= Duration.toMillis(aheadPace)
  }

  return {
    isDue,
    /** How long the renewed token must last at least: longer than what is left of this one. */
    validityOf: (connection: Connection) => aheadOf(connection.credentials, { ahead, name: nameOf(connection) }),
    /** Notes an attempt. */
    begin: (connection: Connection, now: DateTime.Utc): void => {
      attempted.delete(nameOf(connection))
      attempted.set(nameOf(connection), DateTime.toEpochMillis(now))
      if (attempted.size <= remembered) return
      const { value: oldest } = attempted.keys().next()
      if (oldest !== undefined) attempted.delete(oldest)
    }
  }
}
