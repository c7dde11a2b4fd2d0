import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { Audit } from "@valetkey/domain/Audit"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Flows } from "@valetkey/domain/Flows"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import * as Instruments from "@valetkey/domain/Instruments"
import * as RollbackAlarm from "@valetkey/domain/RollbackAlarm"
import { type ConnectionRow, MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import { LogRecorder } from "@valetkey/testing/LogRecorder"
import { Deferred, Effect, Fiber, Layer, Metric, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, layer as world } from "./World.ts"

/** The alarm under the use cases, as a server has it. */
const layer = Layer.mergeAll(AccessTokens.layer(), Layer.fresh(Connections.layer)).pipe(
  Layer.provideMerge(Layer.fresh(RollbackAlarm.layer({ capacity: 3 }))),
  Layer.provideMerge(world)
)

const take = (key: ConnectionKey) => Effect.map(MemoryWorld, ({ connections }) => connections.get(key.path)!)

const put = (key: ConnectionKey, row: ConnectionRow) =>
  Effect.map(MemoryWorld, ({ connections }) => void connections.set(key.path, row))

const alarms = (key: ConnectionKey) =>
  Effect.gen(function*() {
    const events = yield* (yield* Audit).list({ tenant: key.tenant, after: 0, limit: 100 })
    return events.filter((event) => event.action === "connection.rolled_back" && event.server === key.server)
  })

const read = (key: ConnectionKey) => Effect.flatMap(AccessTokens, (tokens) => tokens.get(key))

describe("RollbackAlarm", () => {
  it.effect("CRY-10 raises one alarm for a row that went back a generation, and hands out what is stored", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      yield* connect(key)
      const first = yield* read(key)
      const old = yield* take(key)
      yield* TestClock.adjust("50 minutes")
      yield* (yield* ConnectionStore).reject(key, { generation: first.generation, epoch: old.connection.epoch })
      const second = yield* read(key)
      assert.deepStrictEqual([first.generation, second.generation], [1, 2])
      assert.deepStrictEqual(yield* alarms(key), [])
      yield* put(key, old)
      const again = yield* read(key)
      assert.strictEqual(Redacted.value(again.accessToken), Redacted.value(first.accessToken))
      yield* read(key)
      const [alarm, ...others] = yield* alarms(key)
      assert.deepStrictEqual(others, [])
      assert.deepInclude(alarm as object, { outcome: "rollback_detected", generation: 1, subject: "ada" })
      assert.strictEqual((yield* Metric.value(Instruments.rollbacks)).count, 1)
      const lines = yield* (yield* LogRecorder).lines
      assert.lengthOf(lines.filter((line) => line.includes("rollback_detected")), 1)
      // What it went back to is where this process goes on from.
      yield* TestClock.adjust("2 hours")
      assert.strictEqual((yield* read(key)).generation, 2)
      assert.lengthOf(yield* alarms(key), 1)
    }).pipe(
      Effect.provide(layer),
      Effect.provide(LogRecorder.layer),
      Effect.provideService(Metric.MetricRegistry, new Map())
    ))

  it.effect("CRY-10 knows a life that was over: disconnected here, replaced, or gone", () =>
    Effect.gen(function*() {
      const [connections, store, housekeeping] = [yield* Connections, yield* ConnectionStore, yield* Housekeeping]
      const ended = yield* keyOf("ended")
      yield* connect(ended)
      yield* read(ended)
      const first = yield* take(ended)
      yield* connections.disconnect(ended)
      yield* put(ended, first)
      yield* read(ended)
      assert.lengthOf(yield* alarms(ended), 1)

      const replaced = yield* keyOf("replaced")
      yield* connect(replaced)
      yield* read(replaced)
      const before = yield* take(replaced)
      yield* connect(replaced)
      yield* read(replaced)
      yield* put(replaced, before)
      yield* read(replaced)
      assert.lengthOf(yield* alarms(replaced), 1)

      const gone = yield* keyOf("gone")
      yield* connect(gone)
      yield* read(gone)
      const last = yield* take(gone)
      yield* connections.disconnect(gone)
      yield* housekeeping.revoke
      assert.isTrue(Option.isNone(yield* store.get(gone)))
      yield* put(gone, last)
      yield* read(gone)
      assert.lengthOf(yield* alarms(gone), 1)

      // A life that this process has never read.
      const unseen = yield* keyOf("unseen")
      yield* connect(unseen)
      const never = yield* take(unseen)
      yield* TestClock.adjust("1 second")
      yield* connect(unseen)
      yield* read(unseen)
      yield* put(unseen, never)
      yield* read(unseen)
      assert.lengthOf(yield* alarms(unseen), 1)
    }).pipe(Effect.provide(layer)))

  it.effect("says nothing of refreshes, new consents, and connections that are made anew", () =>
    Effect.gen(function*() {
      const [connections, housekeeping] = [yield* Connections, yield* Housekeeping]
      const key = yield* keyOf("mcp")
      for (let round = 0; round < 3; round++) {
        yield* connect(key)
        yield* read(key)
        yield* TestClock.adjust("2 hours")
        yield* read(key)
      }
      // Another replica ends the connection; it begins anew and counts from one.
      yield* connections.disconnect(key)
      yield* housekeeping.revoke
      yield* connect(key)
      assert.strictEqual((yield* read(key)).generation, 1)
      assert.deepStrictEqual(yield* alarms(key), [])
    }).pipe(Effect.provide(layer)))

  it.effect("says nothing of a connection that is disconnected again, and read in between and after", () =>
    Effect.gen(function*() {
      const [connections, store] = [yield* Connections, yield* ConnectionStore]
      const key = yield* keyOf("mcp")
      yield* connect(key)
      yield* read(key)
      const before = yield* take(key)
      for (let round = 0; round < 2; round++) {
        yield* connections.disconnect(key)
        assert.strictEqual(Option.getOrThrow(yield* store.get(key)).status._tag, "revoking")
        yield* store.get(key)
      }
      // An open flow is something to end, and the row stays the one that was read.
      yield* (yield* Flows).start(key, { reauthorize: true })
      yield* connections.disconnect(key)
      yield* store.get(key)
      yield* store.get(key)
      assert.deepStrictEqual(yield* alarms(key), [])
      // What came back is told as before.
      yield* put(key, before)
      yield* read(key)
      assert.lengthOf(yield* alarms(key), 1)
    }).pipe(Effect.provide(layer)))

  it.effect("CRY-10 knows a connection that was forgotten here and came back", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      yield* connect(key)
      const { generation } = yield* read(key)
      const before = yield* take(key)
      yield* (yield* Connections).forget(key, generation)
      yield* put(key, before)
      yield* read(key)
      yield* read(key)
      assert.lengthOf(yield* alarms(key), 1)
    }).pipe(Effect.provide(layer)))

  it.effect("takes a life that another replica began for what it is", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      for (let round = 0; round < 3; round++) yield* connect(key)
      yield* read(key)
      const { connections } = yield* MemoryWorld
      connections.delete(key.path)
      yield* connect(key)
      assert.strictEqual((yield* read(key)).generation, 1)
      yield* read(key)
      assert.deepStrictEqual(yield* alarms(key), [])
    }).pipe(Effect.provide(layer)))

  it.effect("takes no read that was overtaken for a rollback", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      yield* connect(key)
      const found = yield* (yield* ConnectionStore).get(key)
      // A store whose first answer is old and comes last.
      const late = Deferred.makeUnsafe<void>()
      let reads = 0
      const slow = Layer.effect(
        ConnectionStore,
        Effect.map(ConnectionStore, (store) => ({
          ...store,
          get: (one: ConnectionKey) => ++reads === 1 ? Effect.as(Deferred.await(late), found) : store.get(one)
        }))
      )
      yield* Effect.gen(function*() {
        const store = yield* ConnectionStore
        const overtaken = yield* Effect.forkChild(store.get(key), { startImmediately: true })
        yield* TestClock.adjust("1 second")
        yield* connect(key)
        yield* store.get(key)
        yield* Deferred.succeed(late, undefined)
        yield* Fiber.join(overtaken)
        assert.strictEqual(reads, 3)
        assert.deepStrictEqual(yield* alarms(key), [])
      }).pipe(Effect.provide(Layer.fresh(RollbackAlarm.layer()).pipe(Layer.provide(slow))))
    }).pipe(Effect.provide(world)))

  it.effect("remembers no more connections than it may", () =>
    Effect.gen(function*() {
      const keys = yield* Effect.forEach(["a", "b", "c", "d"], (slug) => keyOf(slug))
      const olds = new Array<ConnectionRow>()
      for (const key of keys) {
        yield* connect(key)
        olds.push(yield* take(key))
        yield* TestClock.adjust("1 second")
        yield* connect(key)
        yield* read(key)
      }
      for (const [index, key] of keys.entries()) yield* put(key, olds[index]!)
      for (const key of [...keys].reverse()) yield* read(key)
      assert.deepStrictEqual(
        yield* Effect.forEach(keys, (key) => Effect.map(alarms(key), (found) => found.length)),
        [0, 1, 1, 1]
      )
    }).pipe(Effect.provide(layer)))
})
