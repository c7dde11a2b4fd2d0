import { DateTime, Effect, Option } from "effect"
import type { Connection, ReauthReason } from "../Connection.ts"
import { Instance } from "../Instance.ts"
import type { AttemptPolicy } from "../Refresh.ts"

/** How often a refresh token may be redeemed, and what its loss is called. */
export interface RedemptionRules {
  readonly policy: AttemptPolicy
  readonly lost?: ReauthReason
}

/** Builds the rules of a connection's redemption. */
export const makeRedemptionRules = Effect.map(
  Effect.serviceOption(Instance),
  (instance) =>
  /** What another instance may have redeemed as well gets a second attempt, and its failure says why it is no surprise. */
  ({ credentials, grant }: Connection): RedemptionRules => {
    if (grant.unattended !== undefined) return { policy: "repeatable" }
    const before = Option.isSome(instance) ? instance.value.restoredBefore() : undefined
    return before !== undefined && DateTime.isLessThan(credentials.issuedAt, before)
      ? { policy: "retry-once", lost: "restored_credentials" }
      : { policy: grant.redemptionPolicy }
  }
)
