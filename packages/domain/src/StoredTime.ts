import { Duration } from "effect"

/** No lease of a claim, a sent request or a probe is longer. */
export const longestLease = Duration.minutes(1)

/**
 * Whether a time that a store keeps is still to come. One further ahead than anybody writes is of a clock that was set back
 * since then, and counts as over: it would keep everybody waiting for as long as the clock was ahead.
 */
export const isToCome = (
  until: number,
  { longest, now }: { readonly longest: Duration.Duration; readonly now: number }
): boolean => until > now && until - now <= Duration.toMillis(longest)
