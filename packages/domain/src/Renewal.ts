import { DateTime, Duration } from "effect"
import { type Connection, isRenewable } from "./Connection.ts"
import { type Ending, endingOf, forecastOf } from "./Forecast.ts"
import { aheadOf, fractionOf } from "./RefreshAhead.ts"
import type { RefreshTerms } from "./RefreshTerms.ts"

/** How long after its last use a connection is still renewed ahead of time: a daily job finds a token that is good. */
export const usedWithin = Duration.days(2)

/** The longest time between two looks: by then a changed description of a server has reached its connections. */
export const longestPause = Duration.days(1)

/** A refresh token that is redeemed this often is not kept from idling out: its end is fixed, and near. */
const shortestIdle = Duration.minutes(1)

/** What is known when a connection is looked at. */
export interface Look {
  readonly connection: Connection
  readonly terms: RefreshTerms
  readonly told: DateTime.Utc | undefined
  /** When a token was last handed out, where that is known and was asked for. */
  readonly lastUse: DateTime.Utc | undefined
  readonly ahead: Duration.Duration
  readonly usedWithin: Duration.Duration
  readonly now: DateTime.Utc
}

/** What follows from a look. */
export interface Verdict {
  /** Why it is renewed now; undefined when it is not. */
  readonly renew: "ahead" | "keep_alive" | undefined
  /** Since when it should have been renewed. */
  readonly dueAt: DateTime.Utc
  /** An end that is near and was not told. */
  readonly tell: Ending | undefined
  /** When the next look is due unless it is renewed; undefined for never. */
  readonly after: Duration.Duration | undefined
}

/** Whether it matters when the connection was used last: only then somebody has to ask. */
export const dependsOnUse = ({ connection, terms }: Pick<Look, "connection" | "terms">): boolean =>
  terms.ahead === "on_use" && connection.credentials.expiresAt !== undefined && isRenewable(connection)

/**
 * What becomes of a connection that is looked at. Its access token is renewed in the window that readers renew it in
 * (`RefreshAhead.aheadOf`), its refresh token is redeemed when seven to eight tenths of its idle time are over: both by a
 * number of its own, so that what was issued together is not renewed together.
 */
export const decide = (look: Look): Verdict => {
  const { connection, now, told } = look
  if (!isRenewable(connection)) return { renew: undefined, dueAt: now, tell: undefined, after: undefined }
  const aheadAt = aheadDate(look)
  const keepAliveAt = keepAliveDate(look)
  const ending = endingOf(connection, look.terms)
  const untold = ending !== undefined && isTold(ending, told) ? undefined : ending
  const isOver = (date: DateTime.Utc | undefined) => date !== undefined && DateTime.isLessThanOrEqualTo(date, now)
  const dates = [aheadAt, keepAliveAt, untold?.tellAt].filter((date) => date !== undefined)
  const pauses = dates.filter((date) => !isOver(date)).map((date) => DateTime.distance(now, date))
  return {
    renew: isOver(keepAliveAt) ? "keep_alive" : isOver(aheadAt) ? "ahead" : undefined,
    dueAt: [aheadAt, keepAliveAt].filter((date) => date !== undefined).reduce(earlier, now),
    tell: isOver(untold?.tellAt) ? untold : undefined,
    after: wholeSeconds(
      pauses.reduce(Duration.min, Duration.times(longestPause, 1 - fractionOf(nameOf(connection)) / 4))
    )
  }
}

const aheadDate = (look: Look): DateTime.Utc | undefined => {
  const { ahead, connection, lastUse, now, terms } = look
  const { credentials } = connection
  if (credentials.expiresAt === undefined || Duration.isZero(ahead)) return undefined
  const isWanted = terms.ahead === "always" || terms.ahead === "on_use" && lastUse !== undefined &&
      Duration.isLessThanOrEqualTo(DateTime.distance(lastUse, now), look.usedWithin)
  if (!isWanted) return undefined
  return DateTime.subtractDuration(credentials.expiresAt, aheadOf(credentials, { ahead, name: nameOf(connection) }))
}

const keepAliveDate = ({ connection, terms }: Look): DateTime.Utc | undefined => {
  const { endsAt, idlesOutAt } = forecastOf(connection, terms)
  if (terms.ahead === "never" || idlesOutAt === undefined) return undefined
  // A grant that ends before that anyway gains nothing.
  if (endsAt !== undefined && DateTime.isLessThanOrEqualTo(endsAt, idlesOutAt)) return undefined
  const { issuedAt } = connection.credentials
  const span = DateTime.distance(issuedAt, idlesOutAt)
  if (Duration.isLessThan(span, shortestIdle)) return undefined
  return DateTime.addDuration(issuedAt, Duration.times(span, 0.7 + fractionOf(nameOf(connection)) / 10))
}

/** Rounded up, so that the next look does not come a moment too early. */
const wholeSeconds = (duration: Duration.Duration): Duration.Duration =>
  Duration.seconds(Math.ceil(Duration.toSeconds(duration)))

/** The same end may be computed a little differently after each refresh that did not put it off. */
const isTold = ({ at, tellAt }: Ending, told: DateTime.Utc | undefined): boolean =>
  told !== undefined && Math.abs(DateTime.toEpochMillis(told) - DateTime.toEpochMillis(at)) <=
    DateTime.toEpochMillis(at) - DateTime.toEpochMillis(tellAt)

/**
 * How long after a failed renewal the next one is tried: the longer it should have been, the rarer, up to an hour. `chance` is
 * a number of [0, 1) that keeps apart what failed together.
 */
export const retryAfter = ({ asked, chance, dueAt, now }: {
  readonly dueAt: DateTime.Utc
  readonly now: DateTime.Utc
  /** The least that the provider asks for. */
  readonly asked: Duration.Duration
  readonly chance: number
}): Duration.Duration => {
  const overdue = Duration.times(DateTime.distance(dueAt, now), 0.5)
  const pause = Duration.min(Duration.hours(1), Duration.max(Duration.minutes(1), overdue))
  return wholeSeconds(Duration.max(asked, Duration.times(pause, 0.75 + chance / 2)))
}

const nameOf = ({ credentials: _, epoch, generation, key }: Connection): string => `${key.path} ${epoch} ${generation}`

const earlier = (one: DateTime.Utc, other: DateTime.Utc): DateTime.Utc => DateTime.isLessThan(other, one) ? other : one
