import { assert, describe, it } from "@effect/vitest"
import { Digest } from "@valetkey/domain/Entropy"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { Sealed } from "@valetkey/domain/Sealed"
import { Duration, Effect, Layer, Option } from "effect"
import { randomBytes } from "node:crypto"
import { Database } from "../src/Database.ts"
import * as Migrations from "../src/Migrations.ts"
import * as PostgresFlowStore from "../src/PostgresFlowStore.ts"
import { TestDatabase } from "./internal/realPostgres.ts"
import { newAuthorization, newKey, newStart, newWrite, rightCallback } from "./internal/rows.ts"

/** Which indices of many flows the one session looked into, so far. */
const looked = Effect.gen(function*() {
  const database = yield* Database
  const { sql } = yield* TestDatabase
  yield* database.write("flush", (sql) => sql`SELECT pg_stat_force_next_flush()`)
  return yield* sql<{ name: string; scans: number }>`SELECT indexrelname AS name, idx_scan::int AS scans
    FROM pg_stat_user_indexes
    WHERE indexrelname IN ('flows_expiring', 'flows_leased', 'flows_polled', 'flows_removable', 'flows_settled')
    ORDER BY name`
})

const newClaimed = Effect.gen(function*() {
  const flows = yield* FlowStore
  const { flow } = yield* flows.reserve(newStart(newKey()))
  const authorization = newAuthorization()
  yield* flows.freeze(flow.id, authorization)
  return Option.getOrThrow(yield* flows.claim(rightCallback(authorization)))
})

// Statistics come and go; what is asked here is what the database does before it has any, as after a restore.
describe("the plans of a flow on its way", () =>
  it.layer(TestDatabase.layer, { timeout: "60 seconds", excludeTestServices: true })((it) => {
    it.effect("find it by what it is asked for, and never among all that a sweep may look through", () =>
      Effect.gen(function*() {
        const { url } = yield* TestDatabase
        yield* Migrations.apply({ url })
        yield* Effect.gen(function*() {
          const flows = yield* FlowStore
          const before = yield* looked
          assert.strictEqual(before.length, 5)
          // Often enough for a plan that is kept.
          for (let n = 0; n < 7; n++) {
            const completed = yield* newClaimed
            assert.strictEqual((yield* flows.complete(completed.id, completed.fence, newWrite(0)))._tag, "Completed")
            const failed = yield* newClaimed
            assert.isTrue(yield* flows.fail(failed.id, failed.fence, "code_rejected"))
            const held = yield* newClaimed
            const completionHash = Digest.make(randomBytes(32).toString("base64url"))
            assert.isTrue(
              yield* flows.hold(held.id, held.fence, {
                code: Sealed.make(new Uint8Array(randomBytes(48))),
                completionHash,
                ttl: Duration.minutes(1)
              })
            )
            const { subject, tenant } = held.key
            const lease = Duration.minutes(1)
            assert.isTrue(Option.isSome(yield* flows.resume({ id: held.id, tenant, subject, completionHash, lease })))
          }
          assert.deepStrictEqual(yield* looked, before)
        }).pipe(Effect.provide(
          PostgresFlowStore.layer.pipe(Layer.provideMerge(Database.layer({ url, maxConnections: 1 })))
        ))
      }))
  }))
