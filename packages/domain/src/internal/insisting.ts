import { type Cause, Duration, Effect, Schedule } from "effect"
import type { Deadlines } from "../Deadlines.ts"

/** How long a refresh has for storing what it brought. */
export const storingTime = ({ http, refresh }: Deadlines): Duration.Duration => Duration.subtract(refresh, http)

/** When a write is tried again that may not be lost; what failed together does not come back together. */
export const storeRetries = Schedule.jittered(
  Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("2 seconds")])
)

/** Tries for the storing time to write what a refresh may not lose; interruptible wherever it stands. */
export const makeInsisting =
  (deadlines: Deadlines) => <A, E>(write: Effect.Effect<A, E>): Effect.Effect<A, E | Cause.TimeoutError> =>
    write.pipe(
      Effect.retry(storeRetries),
      Effect.timeout(storingTime(deadlines)),
      Effect.interruptible
    )
