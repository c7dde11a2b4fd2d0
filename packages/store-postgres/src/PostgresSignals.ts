import type * as PgConnection from "@effect/sql-pg/PgConnection"
import * as SignalHub from "@valetkey/domain/SignalHub"
import { Signals, type Topic } from "@valetkey/domain/Signals"
import { Deferred, Duration, Effect, Layer, Queue, Schedule, Scope } from "effect"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import { hash } from "node:crypto"
import { Database } from "./Database.ts"
import { databaseFailure } from "./internal/failure.ts"

/** The one channel of every replica. */
export const channel = "valetkey"

/** The topic that is dispatched when the replica listens again, in which nothing happened that anybody knows of. */
const reconnected: Topic = "listening"

/** Options of the listener. */
export interface SignalsOptions {
  /** How often the listening session is asked whether it still lives. Default 10 seconds. */
  readonly watchdog?: Duration.Input | undefined
}

/**
 * Layer of `Signals` over LISTEN and NOTIFY. Local subscribers are woken at once; other replicas through the database. A
 * session that died or went silent is replaced, and then every local subscriber is woken once, since a signal may have
 * been lost; observers and listeners are told of a topic that nobody else uses. Without the database local signals still work.
 */
export const layer = (options?: SignalsOptions): Layer.Layer<Signals, never, Database> =>
  Layer.effect(
    Signals,
    Effect.gen(function*() {
      const database = yield* Database
      const watchdog = Duration.fromInputUnsafe(options?.watchdog ?? "10 seconds")
      const hub = SignalHub.make()
      const outgoing = yield* Queue.sliding<string>(backlog)

      yield* Effect.addFinalizer(() => flush(database, outgoing))
      yield* send(database, outgoing).pipe(Effect.forever, Effect.forkScoped)
      if (!database.deaf) {
        const ready = yield* Deferred.make<void>()
        yield* hear(database, hub, watchdog, () => {
          for (const topic of hub.topics()) hub.dispatch(topic)
          // Whoever looks when anything happens does so where nobody has subscribed as well.
          hub.dispatch(reconnected)
          Deferred.doneUnsafe(ready, Effect.void)
        }).pipe(
          Effect.ensuring(Deferred.succeed(ready, undefined)),
          Effect.retry(reconnects),
          Effect.andThen(Effect.sleep("100 millis")),
          Effect.forever,
          Effect.forkScoped
        )
        // What is notified after the layer is built is heard; a database that is down is not waited for.
        yield* Deferred.await(ready)
      }

      return Signals.of({
        notify: (topic) =>
          Effect.sync(() => {
            hub.dispatch(payloadOf(topic))
            Queue.offerUnsafe(outgoing, payloadOf(topic))
          }),
        wake: (topic) => Effect.sync(() => hub.dispatch(payloadOf(topic))),
        observe: hub.observe,
        subscribe: (topic) => hub.subscribe(payloadOf(topic)),
        listen: hub.listen
      })
    })
  )

// Hints beyond this are dropped, oldest first, while the database is away.
const backlog = 4096

/** The payload of a topic. It holds less than 8000 bytes: a long topic goes by its digest, to which subscribers translate as well. */
export const payloadOf = (topic: Topic): string =>
  Buffer.byteLength(topic) < 4000 ? topic : `sha256:${hash("sha256", topic, "base64url")}`

const reconnects = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("5 seconds")]).pipe(
  Schedule.jittered
)

/**
 * Sends what is waiting as one commit: notifying commits wait for each other in the whole database. What was taken is
 * sent even when the layer closes meanwhile.
 */
const send = (database: Database["Service"], outgoing: Queue.Queue<string>): Effect.Effect<void> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(restore(Queue.takeAll(outgoing)), (waiting) => {
      const topics = [...new Set(waiting)]
      return database.write("Signals.notify", (sql) =>
        sql`SELECT pg_notify(${channel}, topic) FROM unnest(${topics}::text[]) AS topic`).pipe(
          Effect.catch((error) =>
            Effect.logDebug("signals not sent to other replicas", error)
          ),
          Effect.asVoid
        )
    })
  )

/** What a closing replica still owes the others, if the database takes it at once. */
const flush = (database: Database["Service"], outgoing: Queue.Queue<string>) =>
  Effect.suspend(() =>
    Queue.sizeUnsafe(outgoing) === 0
      ? Effect.void
      : Effect.timeoutOption(Effect.interruptible(send(database, outgoing)), "1 second")
  )

/** Listens until the session is lost. Fails when there was none to be had. */
const hear = (
  database: Database["Service"],
  hub: SignalHub.SignalHub,
  watchdog: Duration.Duration,
  onListening: () => void
): Effect.Effect<void, SqlError> =>
  Effect.scoped(Effect.gen(function*() {
    const listening = yield* Effect.scope
    yield* Effect.scoped(Effect.gen(function*() {
      const session = yield* Effect.flatMap(database.session, (session) => session.pin)
      // Its scope closes after that of the session: an UNLISTEN over a silent line would never be answered.
      const notifications = yield* Scope.provide(session.listen(channel), listening)
      onListening()
      // Of what one commit tells, everybody is woken in one step: what they read then is one statement.
      const hearing = Queue.takeAll(notifications).pipe(
        Effect.map((heard) => {
          for (const { payload } of heard) hub.dispatch(payload)
        }),
        Effect.forever
      )
      yield* Effect.raceFirst(hearing, watch(session, watchdog)).pipe(
        Effect.catchTag(
          "SqlError",
          (error) => Effect.logWarning("listening session lost; reconnecting", databaseFailure(error))
        )
      )
    }))
  }))

/** Asks the session at an interval. Fails when no answer comes, as over a line that was cut without a word. */
const watch = (session: PgConnection.PgConnection, interval: Duration.Duration): Effect.Effect<never, SqlError> =>
  session.query("SELECT 1").pipe(
    Effect.timeoutOrElse({ duration: Duration.min(interval, Duration.seconds(4)), orElse: () => Effect.fail(silent) }),
    Effect.delay(interval),
    Effect.forever
  )

const silent = new SqlError({
  reason: new ConnectionError({ cause: new Error("no answer"), message: "no answer", operation: "watch" })
})
