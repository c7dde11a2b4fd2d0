import { CheckpointHandler, type CheckpointName } from "@valetkey/domain/Checkpoint"
import { Context, type Duration, Effect, Latch, Layer } from "effect"

/** How often an action applies; every arrival when absent. */
export interface Times {
  readonly times?: number
}

/** The defect that {@link InjectionPoints.die} raises. */
export class InjectedDefect extends Error {
  override readonly name = "InjectedDefect"
  readonly checkpoint: CheckpointName

  constructor(checkpoint: CheckpointName) {
    super(`Injected at ${checkpoint}`)
    this.checkpoint = checkpoint
  }
}

/**
 * Acts at the checkpoints of the domain. One action stands at a point at a time; a later one replaces it.
 *
 * Provide {@link InjectionPoints.layer} *below* the layers under test, so that fibers they own see it too.
 */
export class InjectionPoints extends Context.Service<InjectionPoints, {
  /** Holds whoever arrives until {@link release}; with `times: 1` the first is held and the rest pass. */
  pause(name: CheckpointName, options?: Times): Effect.Effect<void>
  /** Lets everyone held at the point go on and takes the action away. */
  release(name: CheckpointName): Effect.Effect<void>
  /** Dies with {@link InjectedDefect}. */
  die(name: CheckpointName, options?: Times): Effect.Effect<void>
  /** Interrupts the fiber that arrives. */
  interrupt(name: CheckpointName, options?: Times): Effect.Effect<void>
  /** Kills this process with SIGKILL: for child processes of a test. */
  crash(name: CheckpointName): Effect.Effect<void>
  /** Waits, on the clock of whoever arrives. */
  delay(name: CheckpointName, duration: Duration.Input, options?: Times): Effect.Effect<void>
  /** Runs an effect of the test at the point. */
  run(name: CheckpointName, effect: Effect.Effect<void>, options?: Times): Effect.Effect<void>
  /** Takes the action away without releasing those it holds. */
  clear(name: CheckpointName): Effect.Effect<void>
  /** Returns as soon as the point was reached this many times in total, paused arrivals included. */
  awaitReached(name: CheckpointName, times?: number): Effect.Effect<void>
  /** Arrivals so far. */
  count(name: CheckpointName): Effect.Effect<number>
  /** Every arrival in order. */
  readonly history: Effect.Effect<ReadonlyArray<CheckpointName>>
}>()("@valetkey/testing/InjectionPoints") {
  /** Layer that provides the points and installs them as the domain's checkpoint handler. */
  static readonly layer: Layer.Layer<InjectionPoints> = Layer.effectContext(
    Effect.sync(() => {
      const { handler, points } = make()
      return Context.make(InjectionPoints, points).pipe(Context.add(CheckpointHandler, handler))
    })
  )
}

interface Action {
  readonly effect: Effect.Effect<void>
  readonly latch?: Latch.Latch
  left: number
}

interface Waiter {
  readonly name: CheckpointName
  readonly times: number
  readonly latch: Latch.Latch
}

const make = () => {
  const actions = new Map<CheckpointName, Action>()
  const history: Array<CheckpointName> = []
  const waiters = new Set<Waiter>()
  const held = new Map<CheckpointName, Set<Latch.Latch>>()
  const count = (name: CheckpointName) => history.filter((reached) => reached === name).length

  const arm = (name: CheckpointName, effect: Effect.Effect<void>, options: Times = {}, latch?: Latch.Latch) =>
    Effect.sync(() => {
      actions.set(name, { effect, left: options.times ?? Infinity, ...(latch === undefined ? {} : { latch }) })
    })

  const handler = (name: CheckpointName): Effect.Effect<void> =>
    Effect.suspend(() => {
      history.push(name)
      const action = actions.get(name)
      const acts = action !== undefined && action.left-- > 0
      const reached = [...waiters].filter((waiter) => waiter.name === name && count(name) >= waiter.times)
      for (const waiter of reached) waiters.delete(waiter)
      // Opened by effect: opening at once would run the waiting test inside this fiber, before it acts.
      return Effect.forEach(reached, ({ latch }) => latch.open, { discard: true }).pipe(
        Effect.andThen(acts ? action.effect : Effect.void)
      )
    })

  const points = InjectionPoints.of({
    pause: (name, options) =>
      Effect.suspend(() => {
        const latch = Latch.makeUnsafe()
        const all = held.get(name) ?? new Set()
        held.set(name, all.add(latch))
        return arm(name, latch.await, options, latch)
      }),
    release: (name) =>
      Effect.suspend(() => {
        if (actions.get(name)?.latch !== undefined) actions.delete(name)
        const latches = [...held.get(name) ?? []]
        held.delete(name)
        return Effect.forEach(latches, (latch) => latch.open, { discard: true })
      }),
    die: (name, options) => arm(name, Effect.suspend(() => Effect.die(new InjectedDefect(name))), options),
    interrupt: (name, options) => arm(name, Effect.interrupt, options),
    crash: (name) => arm(name, Effect.andThen(Effect.sync(() => process.kill(process.pid, "SIGKILL")), Effect.never)),
    delay: (name, duration, options) => arm(name, Effect.sleep(duration), options),
    run: (name, effect, options) => arm(name, effect, options),
    clear: (name) => Effect.sync(() => void actions.delete(name)),
    awaitReached: (name, times = 1) =>
      Effect.suspend(() => {
        if (count(name) >= times) return Effect.void
        const waiter = { name, times, latch: Latch.makeUnsafe() }
        waiters.add(waiter)
        return Effect.ensuring(waiter.latch.await, Effect.sync(() => waiters.delete(waiter)))
      }),
    count: (name) => Effect.sync(() => count(name)),
    history: Effect.sync(() => [...history])
  })
  return { handler, points }
}
