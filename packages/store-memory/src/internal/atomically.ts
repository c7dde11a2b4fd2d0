import { Effect } from "effect"

/** One synchronous step with the time of Effect's clock: nothing runs between its reads and its writes. */
export const atomically = <A>(step: (now: number) => A): Effect.Effect<A> =>
  Effect.clockWith((clock) => Effect.sync(() => step(clock.currentTimeMillisUnsafe())))
