import { Deferred, Effect, Exit, type Scope } from "effect"

/** What one caller asked for, and where its answer goes. */
export interface Member<Input, Output, E> {
  readonly input: Input
  readonly done: Deferred.Deferred<Output, E>
}

/**
 * Collects what is asked for in one turn of the event loop, and while `lanes` groups are under way, and hands it on
 * together. A caller that leaves takes what was not handed on yet with it and disturbs nobody. The scope owns the work.
 */
export const makeGrouping = <Input, Output, E>(options: {
  readonly lanes: number
  /** Members of one group at most; those of one name count as one. */
  readonly size: number
  /** What whoever asks for the same has in common: whoever waits with the same name is handed on together. Default nothing. */
  readonly nameOf?: (input: Input) => string
  /** Answers every member. What it leaves unanswered ends as it does. */
  readonly run: (members: ReadonlyArray<Member<Input, Output, E>>) => Effect.Effect<void, E>
}): Effect.Effect<(input: Input) => Effect.Effect<Output, E>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Effect.scope
    const waiting: Array<Member<Input, Output, E>> = []
    let closed = false
    let lanes = 0
    let collecting = false

    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        closed = true
        for (const { done } of waiting.splice(0)) Deferred.doneUnsafe(done, Effect.interrupt)
      })
    )

    /** The first who wait, and whoever asks for the same as one of them. */
    const takeGroup = (): ReadonlyArray<Member<Input, Output, E>> => {
      const { nameOf, size } = options
      if (nameOf === undefined || waiting.length <= size) return waiting.splice(0, size)
      const names = new Set<string>()
      const taken: Array<Member<Input, Output, E>> = []
      const left: Array<Member<Input, Output, E>> = []
      for (const member of waiting.splice(0)) {
        const name = nameOf(member.input)
        if (names.size < size) names.add(name)
        if (names.has(name)) taken.push(member)
        else left.push(member)
      }
      waiting.push(...left)
      return taken
    }

    const runGroup = (members: ReadonlyArray<Member<Input, Output, E>>) =>
      Effect.onExit(options.run(members), (exit) =>
        Effect.sync(() => {
          const rest: Effect.Effect<never, E> = Exit.isFailure(exit)
            ? Effect.failCause(exit.cause)
            : Effect.die("a member of a group was not answered")
          for (const { done } of members) Deferred.doneUnsafe(done, rest)
        })).pipe(Effect.exit)

    const lane = Effect.gen(function*() {
      yield* Effect.yieldNow
      collecting = false
      while (waiting.length > 0) {
        const members = takeGroup()
        if (waiting.length > 0) yield* collect
        yield* runGroup(members)
      }
      // In the same step as the last look at what waits, so that nobody counts on a lane that has ended.
      lanes--
    })

    const collect: Effect.Effect<void> = Effect.suspend(() => {
      if (collecting || lanes === options.lanes) return Effect.void
      collecting = true
      lanes++
      return Effect.forkIn(Effect.interruptible(lane), scope, { startImmediately: true })
    })

    return (input: Input) =>
      Effect.suspend(() => {
        if (closed) return Effect.interrupt
        const member: Member<Input, Output, E> = { input, done: Deferred.makeUnsafe() }
        waiting.push(member)
        return Effect.andThen(
          collect,
          Effect.onInterrupt(Deferred.await(member.done), () =>
            Effect.sync(() => {
              const place = waiting.indexOf(member)
              if (place !== -1) waiting.splice(place, 1)
            }))
        )
      })
  })
