import { Cause, Clock, Duration, Effect, type Fiber, FiberSet, type Scope } from "effect"
import { type Flow, type FlowId, isTerminal } from "../Flow.ts"
import type { FlowOwner } from "../Flows.ts"
import { FlowNotFound, FlowStore } from "../FlowStore.ts"
import { flowTopic, Signals, type Topic } from "../Signals.ts"
import { StoreError } from "../StoreError.ts"
import { makePatience, type Patient } from "./patienceList.ts"

/** What a waiter gets: the settled flow, the flow as it is when its patience is over, or why there is none. */
export type Waited = Effect.Effect<Flow, FlowNotFound | StoreError>

/** Whoever waits for flows in this process. */
export interface Waiters {
  /**
   * Calls `resume` once: when the flow is settled, or when `atMost` has passed. Returns how to leave before that, which
   * touches no other waiter. Costs an entry of a map, and neither a fiber nor a timer.
   */
  register(owner: FlowOwner, atMost: Duration.Input | undefined, resume: (waited: Waited) => void): () => void
  /** Gives a flow that has just settled to those who wait for it here, without a read. */
  settled(flow: Flow): void
  /** As `register`, for the fiber that calls. */
  wait(owner: FlowOwner, atMost?: Duration.Input): Waited
}

/** Backstop for lost signals. */
const pollInterval = Duration.seconds(1)
/** How long that question may fail without anybody hearing of it: a failover, or one connection that broke. */
const tolerance = Duration.seconds(5)
/** Longer than a settling takes from its time to its commit. */
const commitReserve = Duration.seconds(10)
/** Waiters whose flows are read at once, and reads that are under way at the same time. */
const batch = 500
const readers = 2

interface Waiter extends Patient {
  readonly owner: FlowOwner
  readonly resume: (waited: Waited) => void
  /** Its patience is over: it takes the flow as it is. */
  last: boolean
}

/**
 * Makes the registry. A signal has its flow read again, with those of other signals; one poll for all waiters asks which
 * flows ended lately, whatever number waits. Who registers listens before it looks.
 */
export const makeWaiters: Effect.Effect<Waiters, never, FlowStore | Signals | Scope.Scope> = Effect.gen(function*() {
  const flows = yield* FlowStore
  const signals = yield* Signals
  const clock = yield* Clock.Clock
  const fork = yield* FiberSet.makeRuntime<never, void>()
  const waiting = new Map<FlowId, Waiter | Set<Waiter>>()
  const due = new Set<FlowId>()
  const beingRead = new Set<FlowId>()
  let reading = 0
  let polling: Fiber.Fiber<void> | undefined

  /** False when it is not there any more. */
  const remove = (waiter: Waiter): boolean => {
    const { id } = waiter.owner
    const found = waiting.get(id)
    if (found === waiter) waiting.delete(id)
    else if (!(found instanceof Set && found.delete(waiter))) return false
    else if (found.size === 0) waiting.delete(id)
    return true
  }

  const forget = (waiter: Waiter): void => {
    patience.leave(waiter)
    if (waiting.size > 0) return
    polling?.interruptUnsafe()
    polling = undefined
  }

  const finish = (waiter: Waiter, waited: Waited): void => {
    if (!remove(waiter)) return
    waiter.resume(waited)
    forget(waiter)
  }

  const waitersOf = (id: FlowId): ReadonlyArray<Waiter> => {
    const found = waiting.get(id)
    return found === undefined ? [] : found instanceof Set ? [...found] : [found]
  }

  const finishAll = (waited: Waited): void => {
    // A copy: whoever is resumed may come again.
    for (const waiter of Array.from(waiting.keys()).flatMap(waitersOf)) finish(waiter, waited)
  }

  const read = (id: FlowId): void => {
    due.add(id)
    if (reading === readers) return
    reading++
    fork(reader)
  }

  /** Takes what is due and nobody reads: a flow is read by one at a time. */
  const taken = (): ReadonlyArray<Waiter> => {
    const waiters: Array<Waiter> = []
    for (const id of due) {
      if (beingRead.has(id)) continue
      due.delete(id)
      const own = waitersOf(id)
      if (own.length === 0) continue
      beingRead.add(id)
      waiters.push(...own)
      if (waiters.length >= batch) break
    }
    return waiters
  }

  const reader: Effect.Effect<void> = Effect.gen(function*() {
    for (let waiters = taken(); waiters.length > 0; waiters = taken()) yield* readAll(waiters)
    // In the same step as the last look at what is due, so that nobody counts on a reader that has ended.
    reading--
  })

  const readAll = (waiters: ReadonlyArray<Waiter>): Effect.Effect<void> => {
    const owners = ownersOf(waiters)
    return Effect.matchCauseEffect(flows.getAll(owners), {
      onSuccess: (found) =>
        Effect.sync(() => {
          const byId = new Map(found.map((flow) => [flow.id, flow]))
          for (const { owner: { id } } of waiters) beingRead.delete(id)
          for (const waiter of waiters) {
            const flow = byId.get(waiter.owner.id)
            if (flow === undefined || !isOwner(waiter.owner, flow)) finish(waiter, Effect.fail(new FlowNotFound()))
            else if (waiter.last || isTerminal(flow.state)) finish(waiter, Effect.succeed(flow))
          }
        }),
      onFailure: (cause) => {
        // One flow that cannot be read is found by halving: nobody else's waiter is to feel it.
        if (owners.length > 1 && isCorrupt(cause)) {
          const middle = Math.ceil(waiters.length / 2)
          return Effect.andThen(readAll(waiters.slice(0, middle)), Effect.suspend(() => readAll(waiters.slice(middle))))
        }
        return Effect.sync(() => {
          for (const { owner: { id } } of waiters) beingRead.delete(id)
          for (const waiter of waiters) finish(waiter, Effect.failCause(cause))
        })
      }
    })
  }

  // Whoever waits longer than the application lives is told so.
  yield* Effect.addFinalizer(() => Effect.sync(() => finishAll(Effect.interrupt)))

  const patience = yield* makePatience<Waiter>(clock, (waiter) => {
    waiter.last = true
    read(waiter.owner.id)
  })

  yield* signals.observe((topic) => {
    const id = idOf(topic)
    if (id !== undefined && waiting.has(id)) read(id)
  })

  /**
   * While anybody waits. Who waits for a store that stays away is told, as by a read of its own. One that is back is asked
   * about all of the time in which it was not.
   */
  const poll = Effect.suspend(() => {
    let since = clock.monotonicTimeNanosUnsafe()
    let failing: bigint | undefined
    const look = Effect.suspend(() => {
      const begun = clock.monotonicTimeNanosUnsafe()
      return Effect.matchCause(flows.ended(Duration.sum(Duration.nanos(begun - since), commitReserve)), {
        onSuccess: (ids) => {
          since = begun
          failing = undefined
          for (const id of ids) if (waiting.has(id)) read(id)
        },
        onFailure: (cause) => {
          failing ??= begun
          if (clock.monotonicTimeNanosUnsafe() - failing < Duration.toNanosUnsafe(tolerance)) return
          failing = undefined
          finishAll(Effect.failCause(cause))
        }
      })
    })
    return Effect.forever(Effect.andThen(Effect.sleep(pollInterval), look))
  })

  const register: Waiters["register"] = (owner, atMost, resume) => {
    const waiter: Waiter = {
      owner,
      resume,
      last: false,
      deadline: 0,
      list: undefined,
      earlier: undefined,
      later: undefined
    }
    const found = waiting.get(owner.id)
    if (found === undefined) waiting.set(owner.id, waiter)
    else if (found instanceof Set) found.add(waiter)
    else waiting.set(owner.id, new Set([found, waiter]))
    if (atMost !== undefined) patience.add(waiter, Duration.fromInputUnsafe(atMost))
    polling ??= fork(poll)
    read(owner.id)
    return () => {
      if (remove(waiter)) forget(waiter)
    }
  }

  return {
    register,
    settled: (flow) => {
      for (const waiter of waitersOf(flow.id)) if (isOwner(waiter.owner, flow)) finish(waiter, Effect.succeed(flow))
    },
    wait: (owner, atMost) =>
      Effect.callback((resume) => {
        const leave = register(owner, atMost, resume)
        return Effect.sync(leave)
      })
  }
})

/** Each owner once: a flow id alone does not say whose the flow is. */
const ownersOf = (waiters: ReadonlyArray<Waiter>): ReadonlyArray<FlowOwner> => {
  const owners = new Map<FlowId, Array<FlowOwner>>()
  for (const { owner } of waiters) {
    const known = owners.get(owner.id)
    if (known === undefined) owners.set(owner.id, [owner])
    else if (!known.some(({ subject, tenant }) => subject === owner.subject && tenant === owner.tenant)) {
      known.push(owner)
    }
  }
  return [...owners.values()].flat()
}

const isOwner = ({ subject, tenant }: FlowOwner, { key }: Flow): boolean =>
  key.tenant === tenant && key.subject === subject

const isCorrupt = (cause: Cause.Cause<StoreError>): boolean => {
  const error = Cause.squash(cause)
  return error instanceof StoreError && error.code === "store_corrupt"
}

const prefix = flowTopic("" as FlowId)

const idOf = (topic: Topic): FlowId | undefined =>
  topic.startsWith(prefix) ? topic.slice(prefix.length) as FlowId : undefined
