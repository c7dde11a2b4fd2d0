import { assert, describe, it } from "@effect/vitest"
import { ConnectionKey, Epoch, sealContext } from "@valetkey/domain/Connection"
import { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { RevocationReceipts } from "@valetkey/domain/RevocationReceipts"
import { Sealed } from "@valetkey/domain/Sealed"
import { ServerSlug } from "@valetkey/domain/Server"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { Duration, Effect } from "effect"
import { SqliteDatabase } from "../src/SqliteDatabase.ts"
import * as SqliteStore from "../src/SqliteStore.ts"

const key = new ConnectionKey({
  tenant: TenantId.make("acme"),
  subject: SubjectId.make("ada"),
  server: ServerSlug.make("notes")
})

const owed = {
  id: "entry",
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

describe("an entry of the outbox from before there were receipts", () => {
  it.effect("gets its receipt when it is tried or settled", () =>
    Effect.gen(function*() {
      const [outbox, receipts, database] = [yield* RevocationOutbox, yield* RevocationReceipts, yield* SqliteDatabase]
      const listed = receipts.list({
        tenant: key.tenant,
        subject: key.subject,
        server: undefined,
        after: undefined,
        limit: 10
      })
      yield* outbox.enqueue(owed)
      yield* database.write("older", (session) => session.run("DELETE FROM revocation_receipts"))
      yield* outbox.take({ limit: 1, lease: Duration.zero })
      yield* outbox.retry(owed.id, Duration.zero, { accessToken: "pending", error: "revocation_refused" })
      const [receipt, ...others] = yield* listed
      assert.deepStrictEqual(others, [])
      assert.deepInclude(receipt, { accessToken: "pending", attempts: 1, error: "revocation_refused" })
      assert.notProperty(receipt, "refreshToken")
      yield* database.write("older", (session) => session.run("DELETE FROM revocation_receipts"))
      yield* outbox.settle(owed.id, { accessToken: "confirmed" })
      const [settled] = yield* listed
      assert.deepInclude(settled, { accessToken: "confirmed", attempts: 1 })
      assert.isDefined(settled?.settledAt)
      yield* outbox.settle(owed.id)
      assert.strictEqual((yield* listed).length, 1)
    }).pipe(Effect.provide(SqliteStore.layer({ path: ":memory:" }))))
})
