import { Clock, Deferred, Duration, Effect, Random, type Scope } from "effect"
import { Signals } from "../Signals.ts"

/** What a round found: something to do, nothing, or that it cannot be done now. */
export type Found = "something" | "nothing" | "failure"

/**
 * Makes rounds that follow each other until their scope ends: `every` after one that found something or failed, and twice as
 * long after each that found nothing, up to `idle`. While signals pass, something may be to do: nobody waits longer than
 * `every` then. A process that hears nothing, and has nothing to do, hardly wakes.
 */
export const makeRounds = (options: {
  readonly every: Duration.Input
  readonly idle: Duration.Input
}): Effect.Effect<(round: Effect.Effect<Found>) => Effect.Effect<never>, never, Signals | Scope.Scope> =>
  Effect.gen(function*() {
    const signals = yield* Signals
    const every = Duration.toMillis(Duration.fromInputUnsafe(options.every))
    const idle = Math.max(every, Duration.toMillis(Duration.fromInputUnsafe(options.idle)))
    const listening = new Set<Deferred.Deferred<void>>()
    yield* signals.observe(() => {
      // A copy: whoever is stirred may listen again before the loop ends.
      for (const stirred of Array.from(listening)) Deferred.doneUnsafe(stirred, Effect.void)
    })

    /** Replicas that started together do not go on together. */
    const jittered = (millis: number) => Effect.map(Random.nextBetween(0.8, 1.2), (factor) => millis * factor)

    const rest = Effect.fnUntraced(function*(pause: number, stirred: Deferred.Deferred<void>) {
      const shortest = yield* jittered(every)
      if (pause === every) return yield* Effect.sleep(Duration.millis(shortest))
      const begun = yield* Clock.monotonicTimeNanos
      yield* Effect.timeoutOption(Deferred.await(stirred), Duration.millis(yield* jittered(pause)))
      const left = shortest - Number((yield* Clock.monotonicTimeNanos) - begun) / 1_000_000
      if (left > 0) yield* Effect.sleep(Duration.millis(left))
    })

    return Effect.fnUntraced(function*(round: Effect.Effect<Found>) {
      let pause = every
      while (true) {
        // What a signal tells of while a round is under way, that round may have missed.
        const stirred = Deferred.makeUnsafe<void>()
        listening.add(stirred)
        yield* Effect.flatMap(round, (found) => {
          pause = found === "nothing" ? Math.min(2 * pause, idle) : every
          return rest(pause, stirred)
        }).pipe(Effect.ensuring(Effect.sync(() => listening.delete(stirred))))
      }
    })
  })
