import { assert, describe, it } from "@effect/vitest"
import { ConnectionKey, Epoch } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import * as Instruments from "@valetkey/domain/Instruments"
import { RenewalPlans } from "@valetkey/domain/RenewalPlans"
import { Sealed } from "@valetkey/domain/Sealed"
import { ServerSlug } from "@valetkey/domain/Server"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { DateTime, Duration, Effect, Metric } from "effect"
import { TestClock } from "effect/testing"
import { SqliteDatabase } from "../src/SqliteDatabase.ts"
import * as SqliteStore from "../src/SqliteStore.ts"

const deposit = Effect.fnUntraced(function*(tenant: string) {
  const key = new ConnectionKey({
    tenant: TenantId.make(tenant),
    subject: SubjectId.make("ada"),
    server: ServerSlug.make("notes")
  })
  yield* (yield* ConnectionStore).deposit(key, {
    epoch: Epoch.make("first"),
    previous: 0,
    grant: {
      issuer: "https://as.example",
      tokenEndpoint: "https://as.example/token",
      clientId: "client",
      authMethod: "none",
      redemptionPolicy: "strict"
    },
    credentials: {
      accessToken: Sealed.make(new Uint8Array(48)),
      refreshToken: Sealed.make(new Uint8Array(48)),
      tokenType: "Bearer",
      issuedAt: DateTime.makeUnsafe(0)
    }
  })
  return key
})

describe("a connection that cannot be read", () => {
  it.effect("REF-21 is not renewed, told and counted, and those of other tenants go on", () =>
    Effect.gen(function*() {
      const [plans, database] = [yield* RenewalPlans, yield* SqliteDatabase]
      const [damaged, whole] = [yield* deposit("acme"), yield* deposit("globex")]
      yield* database.write(
        "damage",
        (session) => session.run("UPDATE connections SET grant_json = '{ not json' WHERE tenant = ?", damaged.tenant)
      )
      const take = Effect.map(
        plans.take({ limit: 10, lease: Duration.minutes(1) }),
        (taken) => taken.map(({ connection }) => connection.key.path)
      )
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* take, [whole.path])
      assert.deepStrictEqual(yield* take, [])
      assert.strictEqual((yield* Metric.value(Instruments.rowPutAside("connections"))).count, 1)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* take, [whole.path])
    }).pipe(Effect.provide(SqliteStore.layer({ path: ":memory:" }))))
})
