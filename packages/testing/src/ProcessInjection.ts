import { CheckpointHandler, type CheckpointName } from "@valetkey/domain/Checkpoint"
import { Effect, Latch, Layer } from "effect"
import type { ChildProcess } from "node:child_process"

/** Environment variable of a child process: the checkpoints it stops at, separated by commas. */
export const variable = "VALETKEY_TEST_STOP_AT"

/** A child process as its test steers it, over the IPC channel it was started with (`stdio: [..., "ipc"]`). */
export interface ProcessInjection {
  /** Returns as soon as the child reached the point this many times; it stands there if it was told to stop. */
  awaitReached(name: CheckpointName, times?: number): Effect.Effect<void>
  /** Lets the child go on from a point, now and whenever it comes there again. */
  release(name: CheckpointName): Effect.Effect<void>
  /** Every arrival in order. */
  readonly history: ReadonlyArray<CheckpointName>
}

/** Layer for the child: reports each checkpoint to its parent and stops at those the environment names. */
export const layer: Layer.Layer<never> = Layer.effect(
  CheckpointHandler,
  Effect.gen(function*() {
    const latches = new Map<string, Latch.Latch>()
    for (const name of (process.env[variable] ?? "").split(",")) latches.set(name, Latch.makeUnsafe())
    const listener = (message: unknown): void => {
      const name = member(message, "release")
      if (name !== undefined) latches.get(name)?.openUnsafe()
    }
    // While somebody listens the channel keeps the child alive, exactly as long as the layer lives.
    yield* Effect.acquireRelease(
      Effect.sync(() => process.on("message", listener)),
      () => Effect.sync(() => process.off("message", listener))
    )
    return (name: CheckpointName) =>
      Effect.suspend(() => {
        process.send?.({ reached: name })
        return latches.get(name)?.await ?? Effect.void
      })
  })
)

/** Steers a child process that runs {@link layer}. */
export const control = (child: ChildProcess): ProcessInjection => {
  const history: Array<CheckpointName> = []
  const waiters = new Set<{ readonly name: CheckpointName; readonly times: number; readonly latch: Latch.Latch }>()
  const count = (name: CheckpointName) => history.filter((reached) => reached === name).length
  child.on("message", (message) => {
    const name = member(message, "reached") as CheckpointName | undefined
    if (name === undefined) return
    history.push(name)
    for (const waiter of waiters) {
      if (count(waiter.name) < waiter.times) continue
      waiters.delete(waiter)
      waiter.latch.openUnsafe()
    }
  })
  return {
    history,
    awaitReached: (name, times = 1) =>
      Effect.suspend(() => {
        if (count(name) >= times) return Effect.void
        const waiter = { name, times, latch: Latch.makeUnsafe() }
        waiters.add(waiter)
        return waiter.latch.await
      }),
    release: (name) => Effect.sync(() => void child.send({ release: name }))
  }
}

const member = (message: unknown, name: string): string | undefined => {
  if (typeof message !== "object" || message === null) return undefined
  const value: unknown = Reflect.get(message, name)
  return typeof value === "string" ? value : undefined
}
