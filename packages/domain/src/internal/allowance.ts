import { Clock, Duration, Effect } from "effect"

/** How often in a second this process may do something: for work that anybody can cause. */
interface Allowance {
  /** True so often in a second. */
  readonly take: Effect.Effect<boolean>
  /** Gives back what was taken for work that not anybody could cause. */
  readonly giveBack: Effect.Effect<void>
}

/** Makes an allowance that nobody has used. */
export const makeAllowance = (perSecond: number): Allowance => {
  let window = { endsAt: 0n, left: 0 }
  return {
    take: Effect.map(Clock.monotonicTimeNanos, (now) => {
      if (now >= window.endsAt) {
        window = { endsAt: now + Duration.toNanosUnsafe(Duration.seconds(1)), left: perSecond }
      }
      if (window.left === 0) return false
      window.left--
      return true
    }),
    giveBack: Effect.sync(() => {
      window.left = Math.min(perSecond, window.left + 1)
    })
  }
}
