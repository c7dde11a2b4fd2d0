import { assert, describe, it } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { RevocationReceipts } from "@valetkey/domain/RevocationReceipts"
import { Duration, Effect, Layer } from "effect"
import * as PostgresStore from "../src/PostgresStore.ts"
import { TestDatabase } from "./internal/realPostgres.ts"
import { newKey, newWrite } from "./internal/rows.ts"

const layer = Layer.unwrap(Effect.map(TestDatabase, ({ url }) => PostgresStore.layer({ url }))).pipe(
  Layer.provideMerge(TestDatabase.layer)
)

describe("an entry that a replica of the version before left in the outbox", () => {
  it.live("gets its receipt when it is tried or settled", () =>
    Effect.gen(function*() {
      const { sql } = yield* TestDatabase
      const [outbox, receipts, connections] = [
        yield* RevocationOutbox,
        yield* RevocationReceipts,
        yield* ConnectionStore
      ]
      const key = newKey()
      const listed = receipts.list({
        tenant: key.tenant,
        subject: key.subject,
        server: undefined,
        after: undefined,
        limit: 10
      })
      const { epoch } = newWrite(0)
      yield* connections.deposit(key, newWrite(0))
      yield* connections.disconnect(key, epoch)
      yield* sql`DELETE FROM revocation_receipts`
      const [entry] = yield* outbox.take({ limit: 1, lease: Duration.zero })
      yield* outbox.retry(entry!.id, Duration.zero, { refreshToken: "confirmed", error: "revocation_refused" })
      const [receipt, ...others] = yield* listed
      assert.deepStrictEqual(others, [])
      assert.deepInclude(receipt, {
        accessToken: "pending",
        refreshToken: "confirmed",
        attempts: 1,
        error: "revocation_refused"
      })
      yield* sql`DELETE FROM revocation_receipts`
      yield* outbox.settle(entry!.id, { refreshToken: "confirmed" })
      const [settled] = yield* listed
      assert.deepInclude(settled, { accessToken: "given_up", refreshToken: "confirmed", attempts: 1 })
      assert.isDefined(settled?.settledAt)
    }).pipe(Effect.provide(layer)))
})
