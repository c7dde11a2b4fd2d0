import { Clock, Deferred, Duration, Effect, Exit, Random, type Scope } from "effect"
import { Entropy } from "../Entropy.ts"
import { handOver, type RedemptionCap } from "../Pacing.ts"
import { PacingStore } from "../PacingStore.ts"
import { Signals } from "../Signals.ts"
import type { StoreError } from "../StoreError.ts"
import type { TenantId } from "../Tenant.ts"

const poll = Duration.millis(100)

/** The right to be one of the few that ask a provider at a time. */
export interface Slot {
  /** Whether the right lasts for so long from now. */
  lasts(duration: Duration.Duration): Effect.Effect<boolean>
  /** Gives the right back, or to the next who waits in this process. Idempotent; waits for nothing. */
  readonly release: Effect.Effect<void>
}

interface Ticket {
  readonly tenant: TenantId
  readonly granted: Deferred.Deferred<void, StoreError>
  state: "waiting" | "granted" | "over"
  held: Held | undefined
}

/** A slot that this process has, with times of its monotonic clock. */
interface Held {
  readonly slot: number
  readonly holder: string
  readonly passedOnUntil: bigint
  readonly until: bigint
}

interface Pool {
  readonly provider: RedemptionCap
  /** Those who wait, by tenant; the first tenant is next, and then the last. */
  readonly waiting: Map<TenantId, Array<Ticket>>
  isPumped: boolean
  /** Done when the last of those who wait is gone. */
  deserted: Deferred.Deferred<void>
}

/**
 * Makes the slots of providers. Whoever waits here costs no query: one fiber per provider asks the store for all of them,
 * and a slot that comes back is passed on without asking, to the tenants in turn.
 */
export const makeRedemptionSlots = Effect.fnUntraced(function*(options: {
  /** The longest that one use of a slot takes. */
  readonly use: Duration.Duration
  /** Runs in a fiber that the application owns. */
  readonly fork: (effect: Effect.Effect<void>) => Effect.Effect<void>
}) {
  const store = yield* PacingStore
  const signals = yield* Signals
  const entropy = yield* Entropy
  const pools = new Map<string, Pool>()
  const lease = Duration.sum(options.use, handOver)

  const next = ({ deserted, waiting }: Pool): Ticket | undefined => {
    const [first] = waiting
    if (first === undefined) return undefined
    const [tenant, tickets] = first
    const ticket = tickets.shift()
    waiting.delete(tenant)
    if (tickets.length > 0) waiting.set(tenant, tickets)
    if (waiting.size === 0) Deferred.doneUnsafe(deserted, Effect.void)
    return ticket
  }

  const grant = (ticket: Ticket, held: Held): Effect.Effect<void> => {
    ticket.state = "granted"
    ticket.held = held
    return Effect.asVoid(Deferred.succeed(ticket.granted, undefined))
  }

  const giveBack = (provider: string, { holder, slot }: Held): Effect.Effect<void> =>
    options.fork(
      store.release({ provider, holder, slot }).pipe(
        Effect.andThen(signals.notify(topicOf(provider))),
        Effect.catch((error) => Effect.logWarning("slot not released; its lease ends by itself", error))
      )
    )

  const leave = (pool: Pool, ticket: Ticket): Effect.Effect<void> =>
    Effect.flatMap(Clock.monotonicTimeNanos, (now) => {
      const { held, state } = ticket
      ticket.state = "over"
      if (state === "waiting") remove(pool, ticket)
      if (state !== "granted" || held === undefined) return Effect.void
      const heir = now < held.passedOnUntil ? next(pool) : undefined
      return heir === undefined ? giveBack(pool.provider.endpoint, held) : grant(heir, held)
    })

  /** Asks the store for slots as long as somebody waits. */
  const pump = (pool: Pool): Effect.Effect<void> =>
    Effect.gen(function*() {
      const { cap, endpoint: provider } = pool.provider
      while (true) {
        // In the same step: whoever comes later finds either a pump that will look again, or none.
        if (pool.waiting.size === 0) return void (pool.isPumped = false)
        yield* Effect.scoped(Effect.gen(function*() {
          const wake = yield* signals.subscribe(topicOf(provider))
          const holder = yield* entropy.id
          const now = yield* Clock.monotonicTimeNanos
          const taken = yield* Effect.exit(
            store.acquire({ provider, holder, cap, count: Math.min(cap, countOf(pool)), lease })
          )
          if (Exit.isFailure(taken)) {
            for (let ticket = next(pool); ticket !== undefined; ticket = next(pool)) {
              ticket.state = "over"
              yield* Deferred.failCause(ticket.granted, taken.cause)
            }
            return
          }
          for (const slot of taken.value) {
            const held: Held = {
              slot,
              holder,
              passedOnUntil: now + Duration.toNanosUnsafe(handOver),
              until: now + Duration.toNanosUnsafe(lease)
            }
            const ticket = next(pool)
            yield* ticket === undefined ? giveBack(provider, held) : grant(ticket, held)
          }
          if (pool.waiting.size === 0) return
          const deserted = pool.deserted = Deferred.makeUnsafe()
          const pause = yield* Random.nextBetween(Duration.toMillis(poll) / 2, Duration.toMillis(poll) * 1.5)
          yield* Effect.raceAllFirst([wake, Deferred.await(deserted), Effect.sleep(Duration.millis(pause))])
        }))
      }
    }).pipe(Effect.onExit((exit) => Exit.isFailure(exit) ? Effect.sync(() => pool.isPumped = false) : Effect.void))

  /** A slot of the provider, for the life of the scope. */
  return Effect.fnUntraced(function*(
    provider: RedemptionCap,
    tenant: TenantId
  ): Effect.fn.Return<Slot, StoreError, Scope.Scope> {
    const pool = pools.get(provider.endpoint) ??
      { provider, waiting: new Map(), isPumped: false, deserted: Deferred.makeUnsafe() }
    pools.set(provider.endpoint, pool)
    const ticket: Ticket = { tenant, granted: Deferred.makeUnsafe(), state: "waiting", held: undefined }
    yield* Effect.addFinalizer(() => leave(pool, ticket))
    const queue = pool.waiting.get(tenant)
    if (queue === undefined) pool.waiting.set(tenant, [ticket])
    else queue.push(ticket)
    if (!pool.isPumped) {
      pool.isPumped = true
      yield* options.fork(pump(pool))
    }
    yield* Deferred.await(ticket.granted)
    return {
      lasts: (duration) =>
        Effect.map(
          Clock.monotonicTimeNanos,
          (now) => ticket.held !== undefined && now + Duration.toNanosUnsafe(duration) <= ticket.held.until
        ),
      release: leave(pool, ticket)
    }
  })
})

const topicOf = (provider: string) => `slots:${provider}`

const countOf = ({ waiting }: Pool): number => {
  let count = 0
  for (const tickets of waiting.values()) count += tickets.length
  return count
}

const remove = ({ deserted, waiting }: Pool, ticket: Ticket): void => {
  const tickets = waiting.get(ticket.tenant)?.filter((one) => one !== ticket) ?? []
  if (tickets.length === 0) waiting.delete(ticket.tenant)
  else waiting.set(ticket.tenant, tickets)
  if (waiting.size === 0) Deferred.doneUnsafe(deserted, Effect.void)
}
