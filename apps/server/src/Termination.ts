import { Effect, type Scope } from "effect"

/**
 * Listens for SIGTERM and SIGINT for the life of the scope. The effect completes at the first signal; a second one ends
 * the process at once, for somebody who does not want to wait for the drain.
 */
export const terminated: Effect.Effect<Effect.Effect<void>, never, Scope.Scope> = Effect.gen(function*() {
  const signals: ReadonlyArray<NodeJS.Signals> = ["SIGTERM", "SIGINT"]
  let count = 0
  let wake = () => {}
  const first = new Promise<void>((resolve) => wake = resolve)
  const onSignal = (signal: NodeJS.Signals) => {
    count++
    if (count > 1) process.exit(signal === "SIGINT" ? 130 : 143)
    wake()
  }
  // Without a listener Node.js opens its inspector, and the memory with it, to whoever may send the signal.
  process.on("SIGUSR1", () => {})
  yield* Effect.acquireRelease(
    Effect.sync(() => signals.forEach((signal) => process.on(signal, onSignal))),
    () => Effect.sync(() => signals.forEach((signal) => process.off(signal, onSignal)))
  )
  return Effect.promise(() => first)
})
