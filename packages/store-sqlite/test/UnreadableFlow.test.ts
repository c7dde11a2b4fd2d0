import { assert, describe, it } from "@effect/vitest"
import { ConnectionKey } from "@valetkey/domain/Connection"
import { DevicePolls } from "@valetkey/domain/DevicePolls"
import { FlowId } from "@valetkey/domain/Flow"
import { FlowStore } from "@valetkey/domain/FlowStore"
import * as Instruments from "@valetkey/domain/Instruments"
import { Sealed } from "@valetkey/domain/Sealed"
import { ServerSlug } from "@valetkey/domain/Server"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { Duration, Effect, Metric } from "effect"
import { TestClock } from "effect/testing"
import { randomUUID } from "node:crypto"
import { SqliteDatabase } from "../src/SqliteDatabase.ts"
import * as SqliteStore from "../src/SqliteStore.ts"

/** A flow that waits for a device. */
const begin = Effect.fnUntraced(function*(tenant: string) {
  const flows = yield* FlowStore
  const key = new ConnectionKey({
    tenant: TenantId.make(tenant),
    subject: SubjectId.make("ada"),
    server: ServerSlug.make("notes")
  })
  const id = FlowId.make(randomUUID())
  yield* flows.reserve({
    id,
    key,
    transport: "device",
    confirmation: "none",
    onConflict: "reject",
    ttl: Duration.minutes(10)
  })
  yield* flows.freeze(id, {
    snapshot: { verificationUri: "https://as.example/device", scopes: ["read"] },
    grant: {
      issuer: "https://as.example",
      tokenEndpoint: "https://as.example/token",
      clientId: "client",
      authMethod: "none",
      redemptionPolicy: "strict"
    },
    deviceCode: Sealed.make(new Uint8Array(48)),
    interval: Duration.seconds(5),
    expiresIn: Duration.minutes(10)
  })
  return { id, tenant: key.tenant, subject: key.subject }
})

describe("a flow that cannot be read", () => {
  it.effect("CR-14 is not polled, told and counted, and those of other tenants go on", () =>
    Effect.gen(function*() {
      const [flows, polls, database] = [yield* FlowStore, yield* DevicePolls, yield* SqliteDatabase]
      const [damaged, whole] = [yield* begin("acme"), yield* begin("globex")]
      yield* database.write(
        "damage",
        (session) => session.run("UPDATE flows SET snapshot = '{ not json' WHERE id = ?", damaged.id)
      )
      yield* TestClock.adjust("5 seconds")
      const take = Effect.map(
        polls.take({ limit: 10, lease: Duration.minutes(1) }),
        (taken) => taken.map(({ id }) => id)
      )
      assert.deepStrictEqual(yield* take, [whole.id])
      assert.deepStrictEqual(yield* take, [])
      assert.strictEqual((yield* Metric.value(Instruments.rowPutAside("flows"))).count, 1)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* take, [whole.id])
      // Who asks for several is told that there is one among them, and finds the others by asking for fewer.
      assert.strictEqual((yield* Effect.flip(flows.getAll([damaged, whole]))).code, "store_corrupt")
      assert.deepStrictEqual((yield* flows.getAll([whole])).map(({ id }) => id), [whole.id])
    }).pipe(Effect.provide(SqliteStore.layer({ path: ":memory:" }))))
})
