import { Effect, Exit, Scope } from "effect"
import type { FlowId } from "../Flow.ts"
import { flowTopic, type Topic } from "../Signals.ts"

/** The transports that are open in this process, one scope for each flow. Closing is idempotent and never fails the caller. */
export interface Listeners {
  /** A scope that ends with the flow, or with the application. */
  open(id: FlowId): Effect.Effect<Scope.Scope>
  close(id: FlowId): Effect.Effect<void>
  closeTopic(topic: Topic): Effect.Effect<void>
}

/** Makes the registry; the surrounding scope closes what is left. */
export const makeListeners: Effect.Effect<Listeners, never, Scope.Scope> = Effect.gen(function*() {
  const parent = yield* Effect.scope
  const open = new Map<Topic, Scope.Closeable>()

  const closeTopic = (topic: Topic) =>
    Effect.suspend(() => {
      const scope = open.get(topic)
      if (scope === undefined) return Effect.void
      open.delete(topic)
      return Scope.close(scope, Exit.void).pipe(
        Effect.catchCause((cause) => Effect.logWarning("callback transport not closed cleanly", cause))
      )
    })

  return {
    open: (id) => Effect.tap(Scope.fork(parent), (scope) => Effect.sync(() => open.set(flowTopic(id), scope))),
    close: (id) => closeTopic(flowTopic(id)),
    closeTopic
  }
})
