import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { AuditTrail } from "@valetkey/domain/AuditTrail"
import { AuthorizationServer } from "@valetkey/domain/AuthorizationServer"
import { CallbackTransports } from "@valetkey/domain/CallbackTransport"
import { CheckpointHandler } from "@valetkey/domain/Checkpoint"
import { Cipher } from "@valetkey/domain/Cipher"
import { Connections } from "@valetkey/domain/Connections"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Deadlines } from "@valetkey/domain/Deadlines"
import { Entropy } from "@valetkey/domain/Entropy"
import { Flows } from "@valetkey/domain/Flows"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import * as SignalHub from "@valetkey/domain/SignalHub"
import { Signals, type Topic } from "@valetkey/domain/Signals"
import { Spool } from "@valetkey/domain/Spool"
import { StateTags } from "@valetkey/domain/StateTags"
import {
  Clock,
  Context,
  Duration,
  Effect,
  type Exit,
  Layer,
  Logger,
  Random,
  References,
  Result,
  Scheduler,
  Scope
} from "effect"
import * as Ports from "./Ports.ts"
import type { Theatre } from "./Theatre.ts"

/** In the order of the real ones, and small: a waiter looks twice a second at who holds a lease. */
export const deadlines = Result.getOrThrow(
  Deadlines.make({ http: "1 second", refresh: "2 seconds", lease: "3 seconds", waiter: "4 seconds" })
)

/** Every use case of the histories. */
export type UseCases = AccessTokens | Connections | Flows | Housekeeping

/** A connection's life and generation that a process marked as sent. */
export interface Mark {
  readonly epoch: string
  readonly generation: number
}

/**
 * One life of a replica: the use cases as an installation has them, over ports whose every call is a turn. It runs when it is
 * its turn and then until it waits for another; it is killed by being forgotten, and none of its finalizers runs.
 *
 * Making one takes longer than a history, so a theatre lends it to many. What it knows from an earlier one is about tenants
 * that never come back.
 */
export class Process {
  readonly theatre: Theatre
  readonly hub = SignalHub.make()
  /** Who hears every signal, in a fiber of its own each time. */
  readonly listeners: Array<(topic: Topic) => Effect.Effect<void>> = []
  readonly context: Context.Context<UseCases>
  slot = 0
  alive = true
  stopped = false
  /** Whether it was ever stopped in this history. */
  late = false
  /** What it marked last, by epoch. */
  marks = new Map<string, Mark>()
  #ready: Array<() => void> = []

  constructor(theatre: Theatre) {
    this.theatre = theatre
    this.context = build(this)
  }

  enter(slot: number): this {
    this.slot = slot
    this.alive = true
    this.stopped = this.late = false
    this.marks = new Map()
    this.#ready = []
    return this
  }

  /** A signal arrives. */
  hear(topic: Topic): void {
    this.hub.dispatch(topic)
    for (const listener of this.listeners) Effect.runForkWith(this.context)(listener(topic))
  }

  /** Runs a use case in a fiber of its own. */
  run<A, E>(effect: Effect.Effect<A, E, UseCases>, ended?: (exit: Exit.Exit<A, E>) => void): void {
    const fiber = Effect.runForkWith(this.context)(effect)
    if (ended !== undefined) fiber.addObserver(ended)
    this.drain()
  }

  /** Goes on until everything here waits. */
  drain(): void {
    for (let task = this.#ready.shift(); task !== undefined; task = this.#ready.shift()) task()
  }

  readonly scheduler: Scheduler.Scheduler = {
    executionMode: "sync",
    shouldYield: () => false,
    makeDispatcher: () => ({
      scheduleTask: (task) => void this.#ready.push(task),
      flush: () => this.drain()
    })
  }

  readonly clock: Clock.Clock = {
    currentTimeMillisUnsafe: () => this.theatre.stage.now,
    currentTimeMillis: Effect.sync(() => this.theatre.stage.now),
    currentTimeNanosUnsafe: () => nanosOf(this.theatre.stage.now),
    currentTimeNanos: Effect.sync(() => nanosOf(this.theatre.stage.now)),
    monotonicTimeNanosUnsafe: () => nanosOf(this.theatre.stage.now),
    monotonicTimeNanos: Effect.sync(() => nanosOf(this.theatre.stage.now)),
    sleep: (duration) => {
      const millis = Duration.toMillis(duration)
      if (millis <= 0) return Effect.yieldNow
      if (millis > forever) return Effect.never
      return Effect.callback<void>((resume) =>
        Effect.sync(this.theatre.stage.after(this, millis, () => resume(Effect.void)))
      )
    }
  }
}

const nanosOf = (millis: number): bigint => BigInt(Math.round(millis * 1000)) * 1000n
/** Longer than any history. */
const forever = Duration.toMillis("365 days")

const layer = Housekeeping.layer.pipe(
  Layer.provideMerge(
    Layer.mergeAll(Flows.layer({ device: false }), AccessTokens.layer({ deadlines }), Connections.layer)
  )
)

/** What is recorded is not what histories are about. */
const trail = AuditTrail.of({ record: () => Effect.void, used: () => Effect.void, flush: Effect.void })

const build = (process: Process): Context.Context<UseCases> => {
  const { stores, vault } = process.theatre
  const ports = stores.pipe(
    Context.add(ConnectionStore, Ports.connections(process)),
    Context.add(FlowStore, Ports.flows(process)),
    Context.add(Spool, Ports.spool(process)),
    Context.add(Signals, Ports.signals(process)),
    Context.add(AuthorizationServer, Ports.authorizationServer(process)),
    Context.add(CallbackTransports, Ports.transports),
    Context.add(StateTags, Ports.stateTags(process)),
    Context.add(Cipher, vault.cipher),
    Context.add(Entropy, process.theatre.entropy),
    Context.add(AuditTrail, trail),
    Context.add(CheckpointHandler, Ports.checkpoints(process)),
    Context.add(Clock.Clock, process.clock),
    Context.add(Scheduler.Scheduler, process.scheduler),
    Context.add(Random.Random, {
      nextIntUnsafe: () => process.theatre.stage.chance.below(Number.MAX_SAFE_INTEGER),
      nextDoubleUnsafe: () => process.theatre.stage.chance.next()
    }),
    Context.add(Logger.CurrentLoggers, new Set()),
    Context.add(References.TracerEnabled, false)
  )
  let built: Context.Context<UseCases> | undefined
  Effect.runForkWith(ports)(Layer.buildWithScope(layer, Scope.makeUnsafe())).addObserver((exit) => {
    if (exit._tag === "Success") built = Context.merge(ports, exit.value)
  })
  process.drain()
  if (built === undefined) throw new Error("a process of the model waits while it starts")
  return built
}
