import { assert, describe, it } from "@effect/vitest"
import { ConnectionKey, Epoch, sealContext } from "@valetkey/domain/Connection"
import * as Instruments from "@valetkey/domain/Instruments"
import { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { RevocationReceipts } from "@valetkey/domain/RevocationReceipts"
import { Sealed } from "@valetkey/domain/Sealed"
import { ServerSlug } from "@valetkey/domain/Server"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { Duration, Effect, Metric } from "effect"
import { TestClock } from "effect/testing"
import { SqliteDatabase } from "../src/SqliteDatabase.ts"
import * as SqliteStore from "../src/SqliteStore.ts"

const owedOf = (tenant: string) => {
  const key = new ConnectionKey({
    tenant: TenantId.make(tenant),
    subject: SubjectId.make("ada"),
    server: ServerSlug.make("notes")
  })
  return {
    id: `entry of ${tenant}`,
    key,
    grant: {
      issuer: "https://as.example",
      tokenEndpoint: "https://as.example/token",
      clientId: "client",
      authMethod: "none" as const,
      redemptionPolicy: "strict" as const
    },
    accessToken: {
      sealed: Sealed.make(new Uint8Array(48)),
      context: sealContext(key, Epoch.make("epoch"), "access_token", 1)
    }
  }
}

describe("an entry of the outbox that cannot be read", () => {
  it.effect("CR-14 is put aside, told and counted, and those of other tenants go on", () =>
    Effect.gen(function*() {
      const [outbox, receipts, database] = [yield* RevocationOutbox, yield* RevocationReceipts, yield* SqliteDatabase]
      const [damaged, whole] = [owedOf("acme"), owedOf("globex")]
      yield* outbox.enqueue(damaged)
      yield* outbox.enqueue(whole)
      yield* database.write(
        "damage",
        (session) => session.run("UPDATE outbox SET grant_json = '{ not json' WHERE id = ?", damaged.id)
      )
      const take = Effect.map(
        outbox.take({ limit: 10, lease: Duration.minutes(1) }),
        (entries) => entries.map(({ id }) => id)
      )
      assert.deepStrictEqual(yield* take, [whole.id])
      const [receipt] = yield* receipts.list({
        tenant: damaged.key.tenant,
        subject: damaged.key.subject,
        server: undefined,
        after: undefined,
        limit: 10
      })
      assert.deepInclude(receipt, { accessToken: "pending", error: "store_corrupt" })
      assert.strictEqual((yield* Metric.value(Instruments.rowPutAside("outbox"))).count, 1)
      yield* TestClock.adjust("2 days")
      assert.deepStrictEqual(yield* take, [whole.id])
      assert.strictEqual(yield* outbox.depth, 2)
    }).pipe(Effect.provide(SqliteStore.layer({ path: ":memory:" }))))
})
