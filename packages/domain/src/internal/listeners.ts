import { type Cause, Clock, Duration, Effect, Exit, Scope } from "effect"
import type { Flow, FlowId } from "../Flow.ts"
import { connectionTopic, flowTopic, type Topic } from "../Signals.ts"

/** The transports that are open in this process, one scope for each flow. Closing is idempotent and never fails the caller. */
export interface Listeners {
  /** A scope that ends with the flow, or with the application. */
  open(flow: Flow): Effect.Effect<Scope.Scope>
  close(id: FlowId): Effect.Effect<void>
  /** Closes what belongs to the flow that the topic names. */
  closeTopic(topic: Topic): Effect.Effect<void>
  /** The flow of this connection that has a transport open here. */
  ofConnection(topic: Topic): Flow | undefined
  /** The flows whose transport has been open for so long. */
  olderThan(age: Duration.Duration): Effect.Effect<ReadonlyArray<Flow>>
}

interface Entry {
  readonly flow: Flow
  readonly scope: Scope.Closeable
  readonly openedAt: bigint
}

/** Makes the registry; the surrounding scope closes what is left. */
export const makeListeners: Effect.Effect<Listeners, never, Scope.Scope> = Effect.gen(function*() {
  const parent = yield* Effect.acquireRelease(
    Scope.make(),
    (scope, exit) => Effect.catchCause(Scope.close(scope, exit), warn)
  )
  const entries = new Map<Topic, Entry>()
  const byConnection = new Map<Topic, Entry>()

  const closeTopic = (topic: Topic) =>
    Effect.suspend(() => {
      const entry = entries.get(topic)
      if (entry === undefined) return Effect.void
      entries.delete(topic)
      const connection = connectionTopic(entry.flow.key)
      if (byConnection.get(connection) === entry) byConnection.delete(connection)
      return Scope.close(entry.scope, Exit.void).pipe(
        Effect.catchCause(warn)
      )
    })

  return {
    open: Effect.fnUntraced(function*(flow) {
      const entry: Entry = { flow, scope: yield* Scope.fork(parent), openedAt: yield* Clock.monotonicTimeNanos }
      entries.set(flowTopic(flow.id), entry)
      byConnection.set(connectionTopic(flow.key), entry)
      return entry.scope
    }),
    close: (id) => closeTopic(flowTopic(id)),
    closeTopic,
    ofConnection: (topic) => byConnection.get(topic)?.flow,
    olderThan: (age) =>
      Effect.map(Clock.monotonicTimeNanos, (now) =>
        [...entries.values()]
          .filter(({ openedAt }) => now - openedAt >= Duration.toNanosUnsafe(age))
          .map(({ flow }) => flow))
  }
})

/** A transport that cannot be closed keeps nobody from going on. */
const warn = (cause: Cause.Cause<never>) => Effect.logWarning("callback transport not closed cleanly", cause)
