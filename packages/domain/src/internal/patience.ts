import { Clock, type Context, Duration, Effect, Fiber, type Scope } from "effect"
import { makePatience, type Patient } from "./patienceList.ts"

interface Caller extends Patient {
  readonly over: () => void
}

/** Ends an effect with `orElse` after `duration`, like `Effect.timeoutOrElse`, and interrupts it. */
export type WithPatience = <A, E, R, B, E2>(
  effect: Effect.Effect<A, E, R>,
  options: { readonly duration: Duration.Input; readonly orElse: () => Effect.Effect<B, E2> }
) => Effect.Effect<A | B, E | E2, R>

/**
 * Makes the patience of callers, who share one timer: a crowd that waits for one refresh is a list. What ends without
 * waiting for anything is not even that.
 */
export const makeCallersPatience: Effect.Effect<WithPatience, never, Scope.Scope> = Effect.gen(function*() {
  const patience = yield* makePatience<Caller>(yield* Clock.Clock, ({ over }) => over())

  return <A, E, R, B, E2>(
    effect: Effect.Effect<A, E, R>,
    { duration, orElse }: { readonly duration: Duration.Input; readonly orElse: () => Effect.Effect<B, E2> }
  ) =>
    Effect.contextWith((context: Context.Context<R>) => {
      const fiber = Effect.runForkWith(context)(effect)
      return fiber.pollUnsafe() ?? Effect.callback<A | B, E | E2>((resume) => {
        const caller: Caller = {
          deadline: 0,
          list: undefined,
          earlier: undefined,
          later: undefined,
          over: () => resume(Effect.andThen(Fiber.interrupt(fiber), Effect.suspend(orElse)))
        }
        patience.add(caller, Duration.fromInputUnsafe(duration))
        fiber.addObserver((exit) => {
          patience.leave(caller)
          resume(exit)
        })
        return Effect.suspend(() => {
          patience.leave(caller)
          return Fiber.interrupt(fiber)
        })
      })
    })
})
