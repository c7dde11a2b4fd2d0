import { DateTime, Duration } from "effect"
import type { Credentials } from "./Credentials.ts"

/** How long before its end a token is renewed when nothing else is asked for. */
export const refreshAhead = Duration.minutes(5)

/** How soon after an attempt to renew a token ahead of time another one follows. */
export const aheadPace = Duration.seconds(30)

/**
 * How long before its end a token is renewed: `ahead`, but no more than a fifth of its lifetime, so that a short life is
 * not spent on renewals. A number that belongs to the name takes up to half of it away: what was issued together is not
 * renewed together.
 */
export const aheadOf = (
  { expiresAt, issuedAt }: Pick<Credentials, "issuedAt" | "expiresAt">,
  { ahead, name }: { readonly ahead: Duration.Duration; readonly name: string }
): Duration.Duration => {
  if (expiresAt === undefined) return Duration.zero
  const lifetime = DateTime.toEpochMillis(expiresAt) - DateTime.toEpochMillis(issuedAt)
  const longest = Math.max(0, Math.min(Duration.toMillis(ahead), lifetime / 5))
  return Duration.millis(longest * (1 - fractionOf(name) / 2))
}

/** Whether a token that is still good is so near its end that it is renewed behind the back of whoever reads it. */
export const isDue = (
  credentials: Pick<Credentials, "issuedAt" | "expiresAt">,
  input: { readonly ahead: Duration.Duration; readonly name: () => string; readonly now: DateTime.Utc }
): boolean => {
  if (credentials.expiresAt === undefined) return false
  const left = DateTime.toEpochMillis(credentials.expiresAt) - DateTime.toEpochMillis(input.now)
  // Most tokens are far from their end: nothing is computed for them.
  return left > 0 && left < Duration.toMillis(input.ahead) &&
    left < Duration.toMillis(aheadOf(credentials, { ahead: input.ahead, name: input.name() }))
}

/** A number of [0, 1) that looks like chance and is the same for the same name (FNV-1a). */
export const fractionOf = (name: string): number => {
  let hash = 0x811c9dc5
  for (let index = 0; index < name.length; index++) hash = Math.imul(hash ^ name.charCodeAt(index), 0x01000193)
  // The last characters must count as much as the first ones.
  hash = Math.imul(hash ^ hash >>> 16, 0x45d9f3b)
  return ((hash ^ hash >>> 16) >>> 0) / 2 ** 32
}
