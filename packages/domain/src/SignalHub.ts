import { Deferred, Effect, Queue, Scope } from "effect"
import type { Signals, Topic } from "./Signals.ts"

/** In-process fan-out of signals: what an adapter of `Signals` puts behind its wire, or uses alone when there is one process. */
export interface SignalHub {
  /** Wakes whoever subscribed to the topic and hands it to every listener. Waits for nobody. */
  dispatch(topic: Topic): void
  /** The topics that somebody waits for. */
  topics(): ReadonlyArray<Topic>
  readonly subscribe: Signals["Service"]["subscribe"]
  readonly observe: Signals["Service"]["observe"]
  readonly listen: Signals["Service"]["listen"]
}

// A listener that lags behind by more than this loses the oldest hints, as the port allows.
const backlog = 1024

/** Makes an empty hub. A waiter costs one entry of a set: no fiber and no timer. */
export const make = (): SignalHub => {
  const waiting = new Map<Topic, Set<Deferred.Deferred<void>>>()
  const listeners = new Set<Queue.Queue<Topic>>()
  const observers = new Set<(topic: Topic) => void>()

  const leave = (topic: Topic, waiter: Deferred.Deferred<void>): void => {
    const set = waiting.get(topic)
    if (set?.delete(waiter) === true && set.size === 0) waiting.delete(topic)
  }

  // `acquireRelease` copies the whole context for each finalizer, and every refresh subscribes.
  const subscribe = (topic: Topic): Effect.Effect<Effect.Effect<void>, never, Scope.Scope> =>
    Effect.uninterruptible(Effect.flatMap(Effect.scope, (scope) => {
      const waiter = Deferred.makeUnsafe<void>()
      const set = waiting.get(topic)
      if (set === undefined) waiting.set(topic, new Set([waiter]))
      else set.add(waiter)
      return Effect.as(
        Scope.addFinalizer(scope, Effect.sync(() => leave(topic, waiter))),
        Deferred.await(waiter)
      )
    }))

  const observe = (observer: (topic: Topic) => void): Effect.Effect<void, never, Scope.Scope> =>
    Effect.asVoid(Effect.acquireRelease(
      Effect.sync(() => {
        // One entry for each call, so that an observer that is given twice leaves once.
        const entry = (topic: Topic) => observer(topic)
        observers.add(entry)
        return entry
      }),
      (entry) => Effect.sync(() => observers.delete(entry))
    ))

  const listen = (listener: (topic: Topic) => Effect.Effect<void>): Effect.Effect<void, never, Scope.Scope> =>
    Effect.gen(function*() {
      const queue = yield* Effect.acquireRelease(
        Effect.tap(Queue.sliding<Topic>(backlog), (queue) => Effect.sync(() => listeners.add(queue))),
        (queue) => Effect.andThen(Effect.sync(() => listeners.delete(queue)), Queue.shutdown(queue))
      )
      yield* Queue.take(queue).pipe(
        Effect.flatMap(listener),
        // One bad signal does not make the listener deaf to the next.
        Effect.catchDefect((defect) => Effect.logError("A listener of signals failed", defect)),
        Effect.forever,
        Effect.forkScoped
      )
    })

  return {
    dispatch: (topic) => {
      const set = waiting.get(topic)
      if (set !== undefined) {
        waiting.delete(topic)
        for (const waiter of set) Deferred.doneUnsafe(waiter, Effect.void)
      }
      for (const observer of observers) observer(topic)
      for (const queue of listeners) Queue.offerUnsafe(queue, topic)
    },
    topics: () => Array.from(waiting.keys()),
    subscribe,
    observe,
    listen
  }
}
