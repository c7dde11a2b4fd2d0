import { Duration, Schema } from "effect"
import type { ConnectionStatus, Epoch, Generation, ReauthReason } from "./Connection.ts"
import { longestPause } from "./Pacing.ts"
import type { RedemptionPolicy } from "./Server.ts"
import { isToCome, longestLease } from "./StoredTime.ts"

/** Schema for how far a refresh got: nobody redeems; somebody may, nothing is sent; the refresh token may have left. */
export const RefreshPhase = Schema.Literals(["idle", "claimed", "sent"])
export type RefreshPhase = typeof RefreshPhase.Type

/** What a store knows about a connection's refresh, with times in milliseconds of the store's clock. */
export interface RefreshState {
  readonly status: ConnectionStatus
  readonly generation: Generation
  readonly epoch: Epoch
  readonly phase: RefreshPhase
  readonly fence: number
  /** Requests that may have carried the current refresh token and have no known outcome. */
  readonly attempts: number
  readonly leaseUntil: number
  readonly notBefore: number
}

/** What a claim gives. */
export type ClaimOutcome =
  /** The caller alone may redeem; every older fence is void. */
  | { readonly _tag: "Claimed"; readonly fence: number }
  /** Somebody else may be redeeming; wait for the signal, or until the lease ends. */
  | { readonly _tag: "Busy"; readonly remaining: Duration.Duration }
  /** The provider asked for, or the last failure made, a pause. */
  | { readonly _tag: "Paced"; readonly remaining: Duration.Duration }
  /**
   * Generation or epoch is not the current one, or the connection is not active: read again. `lost` when this very claim
   * found that no attempt is left and ended it: one caller is told, who tells why.
   */
  | { readonly _tag: "Moved"; readonly lost?: ReauthReason | undefined }

/** How a redemption failed, as far as the next one is concerned. */
export type RefreshFailure =
  /** The provider refused the refresh token for good. */
  | { readonly _tag: "Terminal"; readonly reason: ReauthReason }
  /**
   * The provider answered without redeeming, or nothing was sent: safe to try again after the delay, of an hour at most. Unless the answer is
   * `unclear` and no attempt is left: then the earlier one of unknown outcome may be what it refuses.
   */
  | { readonly _tag: "Retryable"; readonly delay: Duration.Duration; readonly unclear?: true | undefined }
  /** The request may have been processed; no answer tells. */
  | { readonly _tag: "UnknownOutcome" }

/** What to do when the outcome of a request is unknown: `repeatable` for one that uses nothing up, which may be made again at will. */
export type AttemptPolicy = RedemptionPolicy | "repeatable"

/** How many requests of unknown outcome one generation may have: how often its refresh token may leave. */
export const maxAttempts = (policy: AttemptPolicy): number => attempts[policy]

/** The largest is what a column of 32 bits holds. */
const attempts = { strict: 1, "retry-once": 2, repeatable: 2_147_483_647 } as const satisfies Record<
  AttemptPolicy,
  number
>

/** How long after an unknown outcome the second attempt waits. */
export const retryDelay = Duration.seconds(1)

/** After how long is looked again whether the answer came to what was sent: as long as a replica leaves it to its owner. */
const lookAgain = Duration.seconds(1)

/** The decision of a claim: the outcome, and the state to store in the same atomic step when it differs. */
export interface ClaimDecision {
  readonly outcome: ClaimOutcome
  readonly next: RefreshState | undefined
}

/**
 * The rules of `ConnectionStore.claim` as a pure function: adapters run it inside their atomic step or express it in SQL.
 * An expired `sent` is an unknown outcome: its attempt counts, and `policy` says whether another may follow. A lease that
 * ends later than any can was taken before the clock was set back. Its holder may live and its request be under way, so it
 * is not over: it begins anew.
 */
export const decideClaim = (
  state: RefreshState,
  input: {
    readonly generation: Generation
    readonly epoch: Epoch
    readonly policy: AttemptPolicy
    readonly lost?: ReauthReason | undefined
    /** Whether an expired `sent` is left to its owner, who may be about to store the answer. Default false. */
    readonly leavesSent?: boolean | undefined
    readonly lease: Duration.Duration
    readonly now: number
  }
): ClaimDecision => {
  if (state.status._tag !== "active" || state.generation !== input.generation || state.epoch !== input.epoch) {
    return unchanged({ _tag: "Moved" })
  }
  if (state.phase !== "idle" && state.leaseUntil > input.now) {
    const leaseUntil = Math.min(state.leaseUntil, input.now + Duration.toMillis(longestLease))
    return {
      outcome: { _tag: "Busy", remaining: Duration.millis(leaseUntil - input.now) },
      next: leaseUntil < state.leaseUntil ? { ...state, leaseUntil } : undefined
    }
  }
  if (state.phase === "sent" && input.leavesSent === true) {
    return unchanged({ _tag: "Busy", remaining: lookAgain })
  }
  if (state.attempts >= maxAttempts(input.policy)) {
    const lost = input.lost ?? "unknown_outcome"
    return { outcome: { _tag: "Moved", lost }, next: idle(state, { status: needsReauth(lost) }) }
  }
  if (isToCome(state.notBefore, { now: input.now, longest: longestPause })) {
    return unchanged({ _tag: "Paced", remaining: Duration.millis(state.notBefore - input.now) })
  }
  const fence = state.fence + 1
  return {
    outcome: { _tag: "Claimed", fence },
    next: { ...state, phase: "claimed", fence, leaseUntil: input.now + Duration.toMillis(input.lease), notBefore: 0 }
  }
}

/** The state after `claimed → sent`, or undefined when the claim is lost. The attempt is counted before a byte leaves. */
export const decideSent = (
  state: RefreshState,
  input: {
    readonly generation: Generation
    readonly epoch: Epoch
    readonly fence: number
    readonly lease: Duration.Duration
    readonly now: number
  }
): RefreshState | undefined =>
  holds(state, input) && state.phase === "claimed"
    ? { ...state, phase: "sent", attempts: state.attempts + 1, leaseUntil: input.now + Duration.toMillis(input.lease) }
    : undefined

/** The state after a failed redemption, or undefined when generation, epoch or fence moved. */
export const decideFailure = (
  state: RefreshState,
  input: {
    readonly generation: Generation
    readonly epoch: Epoch
    readonly fence: number
    readonly policy: AttemptPolicy
    readonly lost?: ReauthReason | undefined
    readonly failure: RefreshFailure
    readonly now: number
  }
): RefreshState | undefined => {
  if (!holds(state, input)) return undefined
  switch (input.failure._tag) {
    case "Terminal":
      // After an attempt of unknown outcome a refusal may only mean that this attempt had used the token up.
      return idle(state, {
        status: needsReauth(state.attempts > 1 ? input.lost ?? "unknown_outcome" : input.failure.reason),
        attempts: 0
      })
    case "Retryable":
      if (
        input.failure.unclear === true && state.phase === "sent" && state.attempts > 1 &&
        state.attempts >= maxAttempts(input.policy)
      ) {
        return idle(state, { status: needsReauth(input.lost ?? "unknown_outcome") })
      }
      // This attempt has an outcome now; an earlier one of unknown outcome still counts.
      return idle(state, {
        attempts: state.phase === "sent" ? state.attempts - 1 : state.attempts,
        notBefore: input.now + Duration.toMillis(Duration.min(input.failure.delay, longestPause))
      })
    case "UnknownOutcome":
      return state.attempts >= maxAttempts(input.policy)
        ? idle(state, { status: needsReauth(input.lost ?? "unknown_outcome") })
        : idle(state, { notBefore: input.now + Duration.toMillis(retryDelay) })
  }
}

const unchanged = (outcome: ClaimOutcome): ClaimDecision => ({ outcome, next: undefined })

/** Generation and fence begin anew with a connection that was deleted; the epoch tells that it is another one. */
const holds = (
  state: RefreshState,
  input: { readonly generation: Generation; readonly epoch: Epoch; readonly fence: number }
): boolean =>
  state.status._tag === "active" && state.generation === input.generation && state.epoch === input.epoch &&
  state.fence === input.fence && state.phase !== "idle"

const needsReauth = (reason: ReauthReason): ConnectionStatus => ({ _tag: "needs_reauth", reason })

const idle = (state: RefreshState, change: Partial<RefreshState>): RefreshState => ({
  ...state,
  phase: "idle",
  leaseUntil: 0,
  ...change
})
