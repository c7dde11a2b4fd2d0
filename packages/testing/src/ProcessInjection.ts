import { CheckpointHandler, type CheckpointName } from "@valetkey/domain/Checkpoint"
import { Effect, Latch, Layer } from "effect"
import type { ChildProcess } from "node:child_process"

/** Environment variable of a child process: the checkpoints it stops at, separated by commas. */
export const variable = "VALETKEY_TEST_STOP_AT"

/**
 * What happens to a child, once, when it reaches an armed point: it ends like a crash, stops, spins without a break, runs
 * out of memory, forgets a rejected promise, or the fiber that came there dies of a defect or sleeps.
 */
export type Misfortune =
  | "kill"
  | "stop"
  | "exhaust"
  | "reject"
  | "defect"
  | { readonly spinMillis: number }
  | { readonly sleepMillis: number }

/** A child process as its test steers it, over the IPC channel it was started with (`stdio: [..., "ipc"]`). */
export interface ProcessInjection {
  /** Returns as soon as the child reached the point this many times; it stands there if it was told to stop. */
  awaitReached(name: CheckpointName, times?: number): Effect.Effect<void>
  /** Lets the child go on from a point, now and whenever it comes there again. */
  release(name: CheckpointName): Effect.Effect<void>
  /** Has the next arrival at a point do something to the whole process, in the very turn of the event loop; `undefined` disarms it. */
  arm(name: CheckpointName, misfortune: Misfortune | undefined): void
  /** Every arrival in order. */
  readonly history: ReadonlyArray<CheckpointName>
}

/** Layer for the child: reports each checkpoint to its parent and stops at those the environment names. */
export const layer: Layer.Layer<never> = Layer.suspend(() => make((name) => process.send?.({ reached: name })))

/** Layer for a child under load: armed points and nothing else. */
export const layerQuiet: Layer.Layer<never> = Layer.suspend(() => make(() => undefined))

const make = (report: (name: CheckpointName) => void): Layer.Layer<never> =>
  Layer.effect(
    CheckpointHandler,
    Effect.gen(function*() {
      const armed = new Map<string, Misfortune | undefined>()
      const latches = new Map<string, Latch.Latch>()
      for (const name of (process.env[variable] ?? "").split(",")) latches.set(name, Latch.makeUnsafe())
      const listener = (message: unknown): void => {
        const name = member(message, "release")
        if (name !== undefined) latches.get(name)?.openUnsafe()
        const point = member(message, "arm")
        if (point !== undefined) {
          armed.set(point, Reflect.get(message as object, "misfortune") as Misfortune | undefined)
          process.send?.({ armed: point })
        }
      }
      // While somebody listens the channel keeps the child alive, exactly as long as the layer lives.
      yield* Effect.acquireRelease(
        Effect.sync(() => process.on("message", listener)),
        () => Effect.sync(() => process.off("message", listener))
      )
      return (name: CheckpointName) =>
        Effect.suspend(() => {
          report(name)
          const misfortune = armed.get(name)
          if (misfortune !== undefined) {
            armed.delete(name)
            process.send?.({ struck: name })
            return suffer(misfortune)
          }
          return latches.get(name)?.await ?? Effect.void
        })
    })
  )

const suffer = (misfortune: Misfortune): Effect.Effect<void> => {
  if (typeof misfortune === "object" && "sleepMillis" in misfortune) return Effect.sleep(misfortune.sleepMillis)
  if (misfortune === "defect") return Effect.die(new Error("injected"))
  return Effect.sync(() => {
    // A signal to oneself is delivered before the call returns.
    if (misfortune === "kill") return process.kill(process.pid, "SIGKILL")
    if (misfortune === "stop") return process.kill(process.pid, "SIGSTOP")
    if (misfortune === "reject") return void Promise.reject(new Error("injected"))
    const until = misfortune === "exhaust" ? Infinity : performance.now() + misfortune.spinMillis
    const hoard: Array<Array<number>> = []
    while (performance.now() < until) {
      if (misfortune === "exhaust") hoard.push(new Array<number>(100_000).fill(hoard.length + 0.5))
    }
    return hoard
  })
}

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
    release: (name) => Effect.sync(() => void child.send({ release: name })),
    arm: (name, misfortune) => void child.send({ arm: name, misfortune })
  }
}

const member = (message: unknown, name: string): string | undefined => {
  if (typeof message !== "object" || message === null) return undefined
  const value: unknown = Reflect.get(message, name)
  return typeof value === "string" ? value : undefined
}
