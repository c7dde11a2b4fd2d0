import { assert, describe, it } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { Context, Duration, Effect, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import * as PostgresStore from "../src/PostgresStore.ts"
import { advance, TestDatabase } from "./internal/realPostgres.ts"
import { newAuthorization, newKey, newStart, newWrite, rightCallback } from "./internal/rows.ts"

const replica = Effect.gen(function*() {
  const { url } = yield* TestDatabase
  const context = yield* Layer.build(Layer.fresh(PostgresStore.layer({ url, maxConnections: 2 })))
  return { connections: Context.get(context, ConnectionStore), flows: Context.get(context, FlowStore) }
})

const claim = { policy: "retry-once" as const, lease: Duration.minutes(1) }

/** Runs with the host's clock at an hour of its own. */
const at = (minutes: number) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.andThen(TestClock.setTime(Duration.toMillis(Duration.minutes(minutes))), effect)

describe("replicas whose clocks differ", () =>
  it.layer(TestDatabase.layer, { timeout: "60 seconds" })((it) => {
    it.effect("DB-15 TIME-03 respect each other's leases and deadlines, which end by the clock of the database alone", () =>
      Effect.gen(function*() {
        const [slow, fast] = [yield* replica, yield* replica]
        const key = newKey()
        const { flow } = yield* at(0)(slow.flows.reserve(newStart(key)))
        const authorization = newAuthorization()
        yield* at(20)(fast.flows.freeze(flow.id, authorization))
        yield* slow.connections.deposit(key, newWrite(0))
        const { epoch, generation } = Option.getOrThrow(yield* slow.connections.get(key))
        assert.strictEqual((yield* at(0)(slow.connections.claim(key, { ...claim, epoch, generation })))._tag, "Claimed")

        for (const minutes of [5, 20, 60]) {
          assert.strictEqual(
            (yield* at(minutes)(fast.connections.claim(key, { ...claim, epoch, generation })))._tag,
            "Busy"
          )
          assert.strictEqual(Option.getOrThrow(yield* fast.flows.latest(key)).state, "pending")
        }
        yield* advance(Duration.minutes(2))
        assert.strictEqual((yield* at(0)(fast.connections.claim(key, { ...claim, epoch, generation })))._tag, "Claimed")
        assert.strictEqual((yield* at(60)(slow.connections.claim(key, { ...claim, epoch, generation })))._tag, "Busy")
        yield* advance(Duration.minutes(10))
        assert.strictEqual(Option.getOrThrow(yield* at(0)(slow.flows.latest(key))).state, "expired")
        assert.isTrue(Option.isNone(yield* at(0)(slow.flows.claim(rightCallback(authorization)))))
      }))
  }))
