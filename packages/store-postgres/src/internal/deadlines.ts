import { type Clock, Duration, Effect, type Scope } from "effect"

interface Entry {
  readonly at: bigint
  readonly late: Effect.Effect<void>
}

/**
 * The deadlines of all that is under way, each equally far from its begin, behind one timer: an operation adds an entry to
 * a set and takes it away again. What `begin` is given runs once, in the scope, unless the returned function is called before.
 */
export const makeDeadlines = (
  duration: Duration.Duration
): Effect.Effect<(late: Effect.Effect<void>) => Effect.Effect<() => void>, never, Scope.Scope> =>
  Effect.map(Effect.scope, (scope) => {
    const nanos = BigInt(Math.ceil(Duration.toMillis(duration))) * 1_000_000n
    // A caller may live by another clock than the next one.
    const clocks = new WeakMap<Clock.Clock, Set<Entry>>()

    /** Sleeps until the first is late, and ends when nothing is under way: there is nothing to wake for then. */
    const watch = (clock: Clock.Clock, entries: Set<Entry>): Effect.Effect<void> =>
      Effect.suspend(() => {
        const [first] = entries
        if (first === undefined) {
          clocks.delete(clock)
          return Effect.void
        }
        const left = first.at - clock.monotonicTimeNanosUnsafe()
        if (left > 0n) return Effect.andThen(Effect.sleep(Duration.nanos(left)), watch(clock, entries))
        entries.delete(first)
        return Effect.andThen(
          Effect.forkIn(Effect.interruptible(first.late), scope, { startImmediately: true }),
          watch(clock, entries)
        )
      })

    return (late) =>
      Effect.clockWith((clock) => {
        const entry: Entry = { at: clock.monotonicTimeNanosUnsafe() + nanos, late }
        const end = () => void entries.delete(entry)
        const known = clocks.get(clock)
        const entries = known ?? new Set<Entry>()
        entries.add(entry)
        if (known !== undefined) return Effect.succeed(end)
        clocks.set(clock, entries)
        return Effect.as(
          Effect.forkIn(Effect.interruptible(watch(clock, entries)), scope, { startImmediately: true }),
          end
        )
      })
  })
