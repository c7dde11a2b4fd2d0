import { assert, describe, it } from "@effect/vitest"
import { DevicePolls } from "@valetkey/domain/DevicePolls"
import { FlowStore } from "@valetkey/domain/FlowStore"
import * as Instruments from "@valetkey/domain/Instruments"
import { Duration, Effect, Layer, Metric, Option } from "effect"
import * as PostgresStore from "../src/PostgresStore.ts"
import { applicationRole } from "./internal/applicationRole.ts"
import { TestDatabase } from "./internal/realPostgres.ts"
import { newDevice, newKey, newStart } from "./internal/rows.ts"

/** As a role that row-level security applies to: what fails inside of its transaction undoes the round. */
const layer = Layer.unwrap(Effect.map(applicationRole, (url) => PostgresStore.layer({ url, migrate: false }))).pipe(
  Layer.provideMerge(TestDatabase.layer)
)

/** A flow that waits for a device. */
const begin = Effect.gen(function*() {
  const flows = yield* FlowStore
  const key = newKey()
  const { id, ...start } = newStart(key)
  yield* flows.reserve({ ...start, id, transport: "device" })
  yield* flows.freeze(id, newDevice())
  return { id, tenant: key.tenant, subject: key.subject }
})

describe("a flow that cannot be read", () => {
  it.live("CR-14 is not polled, told and counted, and those of other tenants go on", () =>
    Effect.gen(function*() {
      const { sql } = yield* TestDatabase
      const [flows, polls] = [yield* FlowStore, yield* DevicePolls]
      const [damaged, whole] = [yield* begin, yield* begin]
      yield* sql`UPDATE flows SET snapshot = '{}' WHERE id = ${damaged.id}`
      const take = Effect.map(
        polls.take({ limit: 10, lease: Duration.minutes(1) }),
        (taken) => taken.map(({ id }) => id)
      )
      assert.deepStrictEqual(yield* take, [whole.id])
      assert.deepStrictEqual(yield* take, [])
      assert.strictEqual((yield* Metric.value(Instruments.rowPutAside("flows"))).count, 1)
      assert.strictEqual((yield* Effect.flip(flows.getAll([damaged, whole]))).code, "store_corrupt")
      assert.deepStrictEqual((yield* flows.getAll([whole])).map(({ id }) => id), [whole.id])
    }).pipe(Effect.provide(layer)))

  it.live("CR-14 with a time that has no date is told to be damaged, whichever column it is", () =>
    Effect.gen(function*() {
      const { sql } = yield* TestDatabase
      const flows = yield* FlowStore
      for (const column of ["created_at", "expires_at", "settled_at"]) {
        const flow = yield* begin
        yield* flows.cancel(flow)
        assert.isTrue(Option.isSome(yield* flows.get(flow)))
        yield* sql`UPDATE flows SET ${sql(column)} = 'infinity' WHERE id = ${flow.id}`
        assert.strictEqual((yield* Effect.flip(flows.get(flow))).code, "store_corrupt", column)
      }
    }).pipe(Effect.provide(layer)))
})
