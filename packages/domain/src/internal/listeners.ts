import { type Cause, Clock, Duration, Effect, Exit, Scope } from "effect"
import type { Flow, FlowId } from "../Flow.ts"
import { connectionTopic, flowTopic, type Topic } from "../Signals.ts"

/** The transports that are open in this process, one scope for each flow. Closing is idempotent and never fails the caller. */
export interface Listeners {
  /** A scope that ends with the flow, or with the application. */
  open(flow: Flow): Effect.Effect<Scope.Scope>
  /** Something to take the place of what is open for the flow. Until `adopt` closes that, both are open. */
  prepare(flow: Flow): Effect.Effect<Replacement>
  close(id: FlowId): Effect.Effect<void>
  /** Closes what belongs to the flow that the topic names. */
  closeTopic(topic: Topic): Effect.Effect<void>
  /** The flow of this connection that has a transport open here. */
  ofConnection(topic: Topic): Flow | undefined
  /** The flows whose transport has been open for so long. */
  olderThan(age: Duration.Duration): Effect.Effect<ReadonlyArray<Flow>>
}

/** What may take the place of a flow's open transport. One of `adopt` and `discard` is called once. */
export interface Replacement {
  readonly scope: Scope.Scope
  readonly adopt: Effect.Effect<void>
  readonly discard: Effect.Effect<void>
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
      return closeScope(entry.scope)
    })

  const closeScope = (scope: Scope.Closeable) => Effect.catchCause(Scope.close(scope, Exit.void), warn)

  const prepare = Effect.fnUntraced(function*(flow: Flow) {
    const entry: Entry = { flow, scope: yield* Scope.fork(parent), openedAt: yield* Clock.monotonicTimeNanos }
    const adopt = Effect.andThen(
      closeTopic(flowTopic(flow.id)),
      Effect.sync(() => {
        entries.set(flowTopic(flow.id), entry)
        byConnection.set(connectionTopic(flow.key), entry)
      })
    )
    return { scope: entry.scope, adopt, discard: closeScope(entry.scope) }
  })

  return {
    open: (flow) => Effect.flatMap(prepare(flow), ({ adopt, scope }) => Effect.as(adopt, scope)),
    prepare,
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
