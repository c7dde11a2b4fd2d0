import { DateTime, Duration } from "effect"
import type { Connection } from "./Connection.ts"
import type { RefreshTerms } from "./RefreshTerms.ts"

/** When a connection ends if nothing is done, and when it ends whatever is done; as far as anybody said. */
export interface Forecast {
  /** When its refresh token idles out unless it is redeemed before. */
  readonly idlesOutAt?: DateTime.Utc
  /** When the grant ends however often it is used: the person has to sign in again before that. */
  readonly endsAt?: DateTime.Utc
}

/** The part of a connection that its forecast is made of. */
export type Foreseen = Pick<Connection, "status" | "credentials" | "grantedAt">

/**
 * The dates that are known of a connection. What its token endpoint said of this very refresh token and what the server's
 * description says count both, the earlier one first. A date that was outlived by a refresh is none.
 */
export const forecastOf = (
  { credentials: { issuedAt, refreshExpiresAt, refreshToken }, grantedAt, status }: Foreseen,
  { idleLimit, lifetime }: Pick<RefreshTerms, "idleLimit" | "lifetime">
): Forecast => {
  if (status._tag !== "active" || refreshToken === undefined) return {}
  const [idlesOutAt] = [refreshExpiresAt, idleLimit && DateTime.addDuration(issuedAt, idleLimit)]
    .filter((date) => date !== undefined).filter((date) => DateTime.isGreaterThan(date, issuedAt)).sort(DateTime.Order)
  const endsAt = lifetime && grantedAt && DateTime.addDuration(grantedAt, lifetime)
  return {
    ...(idlesOutAt === undefined ? {} : { idlesOutAt }),
    ...(endsAt !== undefined && DateTime.isGreaterThan(endsAt, issuedAt) ? { endsAt } : {})
  }
}

/** What ends a connection first. */
export interface Ending {
  readonly cause: "idle" | "lifetime"
  readonly at: DateTime.Utc
  /** When it is near enough to be told. */
  readonly tellAt: DateTime.Utc
}

const longestNotice = Duration.days(7)

/**
 * What ends a connection first, and when that is worth an event: a tenth of the time before it, a week at most. An idle
 * limit is told that late only of a refresh token that nothing keeps alive.
 */
export const endingOf = (connection: Foreseen, terms: Pick<RefreshTerms, "idleLimit" | "lifetime">):
  | Ending
  | undefined =>
{
  const { endsAt, idlesOutAt } = forecastOf(connection, terms)
  const end = (cause: Ending["cause"], at: DateTime.Utc, since: DateTime.Utc): Ending => ({
    cause,
    at,
    tellAt: DateTime.subtractDuration(
      at,
      Duration.min(longestNotice, Duration.times(DateTime.distance(since, at), 0.1))
    )
  })
  if (endsAt !== undefined && (idlesOutAt === undefined || DateTime.isLessThanOrEqualTo(endsAt, idlesOutAt))) {
    return end("lifetime", endsAt, connection.grantedAt!)
  }
  return idlesOutAt && end("idle", idlesOutAt, connection.credentials.issuedAt)
}
