import { Effect } from "effect"
import { ExitCode } from "./ExitCode.ts"

// A command that lives until a signal, or passes signals on, handles them itself.
let owned = false

/** Whether the running command handles signals itself. */
export const areOwned = (): boolean => owned

/** Leaves signals to the running command from now on. */
export const own = (): void => {
  owned = true
}

/** Waits for the first signal from now on. A second one ends the process at once, as it does elsewhere. */
export const first: Effect.Effect<void> = Effect.callback((resume) => {
  own()
  let signals = 0
  const onSignal = () => {
    signals++
    if (signals > 1) process.exit(ExitCode.interrupted)
    resume(Effect.void)
  }
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, onSignal)
})
