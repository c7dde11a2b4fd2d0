import { Clock, Duration, Effect } from "effect"
import type { StoreError } from "../StoreError.ts"

/** Two paces of `Housekeeping.replay` and what jitter adds: until then what other replicas have spooled is stored. */
const replaying = Duration.seconds(5)

/** For how long a call that failed tells of an absence: who asks so seldom does not know when the store came back. */
const remembered = Duration.minutes(10)

/** What this process knows of a store that was away. Made by `makeStoreAbsence`. */
export interface StoreAbsence {
  /** Notes that a call failed. */
  missed(error: { readonly _tag: string }): Effect.Effect<void>
  /** The same of a call that may be the first one after which the store is back. */
  watch<A, R>(call: Effect.Effect<A, StoreError, R>): Effect.Effect<A, StoreError, R>
  /** Whether the store is away, or so short a time back that the answer to what was sent before may still come. */
  readonly isRecent: Effect.Effect<boolean>
}

/**
 * Makes the memory of one process for the store's absence. A lease goes on while the store is away, and its owner may have
 * the answer in its spool: for a moment after the store is back, an expired lease says nothing.
 */
export const makeStoreAbsence = (): StoreAbsence => {
  let missedAt: bigint | undefined
  let recentUntil: bigint | undefined

  const missed = (error: { readonly _tag: string; readonly code?: string }): Effect.Effect<void> =>
    error._tag === "StoreError" && error.code === "store_unavailable"
      ? Effect.map(Clock.monotonicTimeNanos, (now) => void (missedAt = now))
      : Effect.void

  const found = Effect.suspend(() => {
    if (missedAt === undefined) return Effect.void
    return Effect.map(Clock.monotonicTimeNanos, (now) => {
      if (isAway(now)) recentUntil = now + Duration.toNanosUnsafe(replaying)
      missedAt = undefined
    })
  })

  const isAway = (now: bigint): boolean => missedAt !== undefined && now - missedAt < Duration.toNanosUnsafe(remembered)

  return {
    missed,
    watch: (call) => Effect.tapError(Effect.tap(call, found), missed),
    isRecent: Effect.suspend(() =>
      missedAt === undefined && recentUntil === undefined
        ? Effect.succeed(false)
        : Effect.map(Clock.monotonicTimeNanos, (now) => isAway(now) || (recentUntil !== undefined && now < recentUntil))
    )
  }
}
