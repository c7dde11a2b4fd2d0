import { assert, describe, it } from "@effect/vitest"
import { Generation } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { connectionTopic, flowTopic, Signals } from "@valetkey/domain/Signals"
import { Context, Deferred, Duration, Effect, Layer, Option, type Redacted } from "effect"
import * as PostgresStore from "../src/PostgresStore.ts"
import { applicationRole } from "./internal/applicationRole.ts"
import { TestDatabase } from "./internal/realPostgres.ts"
import { newAuthorization, newKey, newStart, newWrite, rightCallback } from "./internal/rows.ts"

const replica = (url: Redacted.Redacted, migrate: boolean) =>
  Effect.map(Layer.build(Layer.fresh(PostgresStore.layer({ url, migrate }))), (context) => ({
    connections: Context.get(context, ConnectionStore),
    flows: Context.get(context, FlowStore),
    signals: Context.get(context, Signals)
  }))

/** A flow that is being exchanged. */
const exchanging = Effect.fnUntraced(function*(flows: FlowStore["Service"]) {
  const authorization = newAuthorization()
  const { flow } = yield* flows.reserve({ ...newStart(newKey()), frozen: { authorization } })
  return Option.getOrThrow(yield* flows.claim(rightCallback(authorization)))
      .fence === 1
    ? { id: flow.id, fence: 1 }
    : yield* Effect.die("somebody else claimed the flow")
})

describe("what one replica writes", () =>
  it.layer(TestDatabase.layer, { timeout: "60 seconds", excludeTestServices: true })((it) => {
    for (const role of ["the owner of the tables", "a role that row-level security applies to"]) {
      it.effect(`tells another of a flow that settles with the commit, by ${role}, and only if it does settle`, () =>
        Effect.gen(function*() {
          const { url } = yield* TestDatabase
          const own = role === "the owner of the tables"
          const here = yield* replica(own ? url : yield* applicationRole, own)
          const there = yield* replica(url, true)
          const heard: Array<string> = []
          const last = yield* Deferred.make<void>()
          const [completes, fails, stays, ends] = yield* Effect.forEach([1, 2, 3, 4], () => exchanging(here.flows))
          yield* there.signals.observe((topic) => {
            heard.push(topic)
            if (topic === flowTopic(ends!.id)) Deferred.doneUnsafe(last, Effect.void)
          })
          // Nobody calls `notify`: what is heard came with the statement that settled the flow.
          assert.strictEqual((yield* here.flows.complete(stays!.id, stays!.fence, newWrite(3)))._tag, "GenerationMoved")
          assert.strictEqual((yield* here.flows.complete(stays!.id, 7, newWrite(0)))._tag, "ClaimLost")
          assert.isFalse(yield* here.flows.fail(stays!.id, 7, "code_rejected"))
          assert.strictEqual((yield* here.flows.complete(completes!.id, 1, newWrite(0)))._tag, "Completed")
          assert.isTrue(yield* here.flows.fail(fails!.id, 1, "code_rejected"))
          assert.isTrue(yield* here.flows.fail(ends!.id, 1, "outcome_unknown"))
          yield* Effect.timeout(Deferred.await(last), Duration.seconds(30))
          assert.deepStrictEqual(heard, [completes!, fails!, ends!].map(({ id }) => flowTopic(id)))
        }))

      it.effect(`tells another of new credentials with the commit, by ${role}, and of none that came too late`, () =>
        Effect.gen(function*() {
          const { url } = yield* TestDatabase
          const own = role === "the owner of the tables"
          const here = yield* replica(own ? url : yield* applicationRole, own)
          const there = yield* replica(url, true)
          const heard: Array<string> = []
          const last = yield* Deferred.make<void>()
          const rows = yield* Effect.forEach([1, 2, 3], () => {
            const [key, write] = [newKey(), newWrite(0)]
            return Effect.as(here.connections.deposit(key, write), { key, write })
          })
          const commit = ({ key, write }: typeof rows[number], generation: number) =>
            here.connections.commit(key, {
              generation: Generation.make(generation),
              epoch: write.epoch,
              credentials: write.credentials,
              resultId: "result"
            })
          const [one, late, end] = rows
          yield* there.signals.observe((topic) => {
            heard.push(topic)
            if (topic === connectionTopic(end!.key)) Deferred.doneUnsafe(last, Effect.void)
          })
          const stored = yield* Effect.all([commit(one!, 1), commit(late!, 7)], { concurrency: "unbounded" })
          assert.deepStrictEqual(stored, [true, false])
          assert.isTrue(yield* commit(end!, 1))
          yield* Effect.timeout(Deferred.await(last), Duration.seconds(30))
          assert.deepStrictEqual(heard, [one!, end!].map(({ key }) => connectionTopic(key)))
        }))
    }
  }))
