import { type Duration, Effect, Fiber } from "effect"

/**
 * Ends an effect with `orElse` after `duration`, like `Effect.timeoutOrElse`, and interrupts it. What ends without
 * waiting for anything gets no timer: one costs more than reading a stored token.
 */
export const withPatience = <A, E, R, B, E2>(
  effect: Effect.Effect<A, E, R>,
  options: { readonly duration: Duration.Input; readonly orElse: () => Effect.Effect<B, E2> }
): Effect.Effect<A | B, E | E2, R> =>
  Effect.contextWith((context) => {
    const fiber = Effect.runForkWith(context)(effect)
    return fiber.pollUnsafe() ?? Effect.onExit(
      Effect.timeoutOrElse(Fiber.join(fiber), options),
      () => Fiber.interrupt(fiber)
    )
  })
