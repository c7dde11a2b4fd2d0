import { assert, describe, it } from "@effect/vitest"
import { Signals, type Topic } from "@valetkey/domain/Signals"
import { Context, Deferred, type Duration, Effect, Fiber, Layer, Option, Queue, type Redacted } from "effect"
import { randomUUID } from "node:crypto"
import { Database } from "../src/Database.ts"
import * as PostgresSignals from "../src/PostgresSignals.ts"
import * as Line from "./internal/line.ts"
import { TestDatabase } from "./internal/realPostgres.ts"

/** The signals of one replica. */
const replica = (url: Redacted.Redacted, name: string, watchdog: Duration.Input = "10 seconds") =>
  Effect.map(
    Layer.build(Layer.fresh(
      PostgresSignals.layer({ watchdog }).pipe(Layer.provide(Database.layer({ url, applicationName: name })))
    )),
    (context) => Context.get(context, Signals)
  )

const newTopic = (): Topic => `flow:${randomUUID()}`

/** Ends the session that listens under this name, as an administrator or a failing server does. */
const killListener = (name: string) =>
  Effect.flatMap(
    TestDatabase,
    ({ sql }) =>
      sql<{ pid: number }>`SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE application_name = ${name} AND query ILIKE 'LISTEN%'`
  )

describe("PostgresSignals", () =>
  it.layer(TestDatabase.layer, { timeout: "60 seconds", excludeTestServices: true })((it) => {
    it.effect("wakes a subscriber of the same process at once and one of another replica through the database", () =>
      Effect.gen(function*() {
        const { url } = yield* TestDatabase
        const one = yield* replica(url, newTopic())
        const two = yield* replica(url, newTopic())
        const topic = newTopic()
        const here = yield* one.subscribe(topic)
        const there = yield* two.subscribe(topic)
        const heard = yield* Deferred.make<Topic>()
        yield* two.listen((topic) => Deferred.succeed(heard, topic))
        yield* one.notify(topic)
        yield* here
        yield* there
        assert.strictEqual(yield* Deferred.await(heard), topic)
      }))

    it.effect("wakes everybody whom one commit concerns in one step, so that what they read is one statement", () =>
      Effect.gen(function*() {
        const { sql, url } = yield* TestDatabase
        const two = yield* replica(url, newTopic())
        const topics = Array.from({ length: 40 }, newTopic)
        let woken = 0
        const seen = yield* Effect.forEach(
          topics,
          (topic) =>
            Effect.flatMap(two.subscribe(topic), (wake) =>
              Effect.forkChild(
                Effect.gen(function*() {
                  yield* wake
                  woken++
                  yield* Effect.yieldNow
                  return woken
                }),
                { startImmediately: true }
              ))
        )
        yield* sql`SELECT pg_notify(${PostgresSignals.channel}, topic) FROM unnest(${topics}::text[]) AS topic`
        const [first] = yield* Fiber.joinAll(seen)
        assert.strictEqual(first, topics.length)
      }))

    it.effect("does not wake who waits for something else", () =>
      Effect.gen(function*() {
        const { url } = yield* TestDatabase
        const one = yield* replica(url, newTopic())
        const two = yield* replica(url, newTopic())
        const other = yield* two.subscribe(newTopic())
        const topic = newTopic()
        const mine = yield* two.subscribe(topic)
        yield* one.notify(topic)
        yield* mine
        assert.isTrue(Option.isNone(yield* Effect.timeoutOption(other, "50 millis")))
      }))

    it.effect("carries a topic that is longer than a payload may be", () =>
      Effect.gen(function*() {
        const { url } = yield* TestDatabase
        const one = yield* replica(url, newTopic())
        const two = yield* replica(url, newTopic())
        const topic = `connection:${"%F0%9F%94%91".repeat(900)}${randomUUID()}`
        const there = yield* two.subscribe(topic)
        yield* one.notify(topic)
        yield* there
      }))

    it.effect("DB-11 sends nothing but the topic", () =>
      Effect.gen(function*() {
        const { sql, url } = yield* TestDatabase
        const one = yield* replica(url, newTopic())
        const topic = newTopic()
        const seen = yield* sql.listen(PostgresSignals.channel)
        yield* one.notify(topic)
        const { payload } = yield* Queue.take(seen)
        assert.strictEqual(payload, topic)
      }))

    it.effect("DB-10 hears again after its listening session was killed, and wakes everybody once", () =>
      Effect.gen(function*() {
        const { url } = yield* TestDatabase
        const name = `listener-${randomUUID()}`
        const one = yield* replica(url, newTopic())
        const two = yield* replica(url, name)
        // The signal of this topic is never sent: only the reconnection wakes its subscriber.
        const lost = yield* two.subscribe(newTopic())
        assert.strictEqual((yield* killListener(name)).length, 1)
        yield* lost
        const topic = newTopic()
        const there = yield* two.subscribe(topic)
        yield* one.notify(topic)
        yield* there
      }))

    it.effect(
      "stirs whoever observes when its listening session was killed, though nobody has subscribed",
      () =>
        Effect.gen(function*() {
          const { url } = yield* TestDatabase
          const name = `listener-${randomUUID()}`
          const one = yield* replica(url, name)
          const stirred = yield* Deferred.make<void>()
          yield* one.observe(() => void Deferred.doneUnsafe(stirred, Effect.void))
          assert.strictEqual((yield* killListener(name)).length, 1)
          yield* Deferred.await(stirred)
        }),
      10_000
    )

    it.effect("DB-10 replaces a listening session that went silent", () =>
      Effect.gen(function*() {
        const { url } = yield* TestDatabase
        const line = yield* Line.make(url)
        const two = yield* replica(line.url, newTopic(), "200 millis")
        const one = yield* replica(url, newTopic())
        const lost = yield* two.subscribe(newTopic())
        yield* line.silence
        yield* line.heal
        yield* lost
        const topic = newTopic()
        const there = yield* two.subscribe(topic)
        yield* one.notify(topic)
        yield* there
      }), 30_000)

    it.effect("keeps local signals when the database is away, and comes back by itself", () =>
      Effect.gen(function*() {
        const { url } = yield* TestDatabase
        const line = yield* Line.make(url)
        yield* line.cut
        const two = yield* replica(line.url, newTopic())
        const topic = newTopic()
        const here = yield* two.subscribe(topic)
        yield* two.notify(topic)
        yield* here
        const back = yield* two.subscribe(newTopic())
        yield* line.heal
        yield* back
        const one = yield* replica(url, newTopic())
        const again = newTopic()
        const there = yield* two.subscribe(again)
        yield* one.notify(again)
        yield* there
      }))

    it.effect("sends what was notified just before a replica closes", () =>
      Effect.gen(function*() {
        const { url } = yield* TestDatabase
        const two = yield* replica(url, newTopic())
        const topics = Array.from({ length: 20 }, newTopic)
        const there = yield* Effect.forEach(topics, two.subscribe)
        yield* Effect.scoped(
          Effect.flatMap(replica(url, newTopic()), (one) => Effect.forEach(topics, one.notify, { discard: true }))
        )
        yield* Effect.all(there, { concurrency: "unbounded" })
      }))
  }))
