import { assert, describe, it } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import * as Instruments from "@valetkey/domain/Instruments"
import { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { RevocationReceipts } from "@valetkey/domain/RevocationReceipts"
import { Duration, Effect, Layer, Metric } from "effect"
import * as PostgresStore from "../src/PostgresStore.ts"
import { TestDatabase } from "./internal/realPostgres.ts"
import { newKey, newWrite } from "./internal/rows.ts"

const layer = Layer.unwrap(Effect.map(TestDatabase, ({ url }) => PostgresStore.layer({ url }))).pipe(
  Layer.provideMerge(TestDatabase.layer)
)

describe("an entry of the outbox that cannot be read", () => {
  it.live("CR-14 is put aside, told and counted, and those of other tenants go on", () =>
    Effect.gen(function*() {
      const { sql } = yield* TestDatabase
      const [outbox, receipts, connections] = [
        yield* RevocationOutbox,
        yield* RevocationReceipts,
        yield* ConnectionStore
      ]
      const [damaged, whole] = [newKey(), newKey()]
      for (const key of [damaged, whole]) {
        const { epoch } = newWrite(0)
        yield* connections.deposit(key, newWrite(0))
        yield* connections.disconnect(key, epoch)
      }
      yield* sql`UPDATE revocations SET "grant" = jsonb_set("grant", '{issuer}', '"not a URL"')
        WHERE tenant = ${damaged.tenant}`
      const take = Effect.map(
        outbox.take({ limit: 10, lease: Duration.zero }),
        (entries) => entries.map(({ key }) => key.path)
      )
      assert.deepStrictEqual(yield* take, [whole.path])
      assert.deepStrictEqual(yield* take, [whole.path])
      const [receipt] = yield* receipts.list({
        tenant: damaged.tenant,
        subject: damaged.subject,
        server: undefined,
        after: undefined,
        limit: 10
      })
      assert.deepInclude(receipt, { accessToken: "pending", attempts: 1, error: "store_corrupt" })
      assert.strictEqual((yield* Metric.value(Instruments.rowPutAside("revocations"))).count, 1)
      assert.strictEqual(yield* outbox.depth, 2)
    }).pipe(Effect.provide(layer)))
})
