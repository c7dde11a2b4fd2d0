import { Clock, Duration, Effect } from "effect"

/** Makes an effect that is true so often in a second of this process: for work that anybody can cause. */
export const makeAllowance = (perSecond: number): Effect.Effect<boolean> => {
  let window = { endsAt: 0n, left: 0 }
  return Effect.map(Clock.monotonicTimeNanos, (now) => {
    if (now >= window.endsAt) {
      window = { endsAt: now + Duration.toNanosUnsafe(Duration.seconds(1)), left: perSecond }
    }
    return window.left-- > 0
  })
}
