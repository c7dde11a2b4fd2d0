import { assert, type Vitest } from "@effect/vitest"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { TenantKeyStore } from "@valetkey/domain/TenantKeyStore"
import { TenantStore } from "@valetkey/domain/TenantStore"
import { DateTime, Duration, Effect, Option } from "effect"
import * as Fixture from "./contractFixtures.ts"
import { createKey, fill, isRecorded, patience, type Ports, refusal, rest, statuses, step } from "./tenantRows.ts"

/** The cases of `TenantStore` about what becomes of a marked tenant: connected, erase, allow. */
export const cases = <R>(it: Vitest.MethodsNonLive<Ports | R>, options: Fixture.ContractOptions<R>): void => {
  it.effect("LIFE-02 keeps the rows while revocations are owed, and no longer than the patience", () =>
    Effect.gen(function*() {
      const tenants = yield* TenantStore
      const connections = yield* ConnectionStore
      const outbox = yield* RevocationOutbox
      const [patient, impatient] = [yield* fill(Fixture.newTenant()), yield* fill(Fixture.newTenant())]
      for (const { tenant } of [patient, impatient]) {
        yield* tenants.begin(tenant)
        assert.strictEqual(yield* tenants.erase(tenant, step), "waiting")
        const [key, ...others] = yield* tenants.connected(tenant, 10)
        assert.lengthOf(others, 0)
        yield* connections.disconnect(key!, Fixture.newEpoch())
        assert.lengthOf(yield* tenants.connected(tenant, 10), 0)
        assert.strictEqual(yield* tenants.erase(tenant, step), "waiting")
      }
      for (const id of patient.owed) yield* outbox.settle(id)
      assert.strictEqual(yield* tenants.erase(patient.tenant, step), "deleted")
      assert.strictEqual(yield* tenants.erase(impatient.tenant, step), "waiting")
      yield* options.advance(patience)
      assert.strictEqual(yield* tenants.erase(impatient.tenant, step), "deleted")
      for (const filled of [patient, impatient]) {
        const found = Option.getOrThrow(yield* tenants.find(filled.tenant))
        assert.deepStrictEqual([found.connections, found.revocations], [0, 0])
        assert.deepStrictEqual(yield* statuses(filled), ["none", "none", "none"])
        assert.isFalse((yield* tenants.unfinished).includes(filled.tenant))
      }
    }))

  it.effect("LIFE-02 keeps the rows until what was under way has had its time", () =>
    Effect.gen(function*() {
      const tenants = yield* TenantStore
      const tenant = Fixture.newTenant()
      yield* Fixture.exchangingFlow(Fixture.newKey({ tenant }))
      yield* tenants.begin(tenant)
      assert.strictEqual(yield* tenants.erase(tenant, step), "waiting")
      yield* options.advance(Fixture.pastLease)
      assert.strictEqual(yield* tenants.erase(tenant, step), "deleted")
    }))

  it.effect("LIFE-02 EXT-01 keeps the rows until a poll that was under way has had its time", () =>
    Effect.gen(function*() {
      const tenants = yield* TenantStore
      const tenant = Fixture.newTenant()
      const { take } = yield* Fixture.deviceFlow(Fixture.newKey({ tenant }))
      yield* options.advance(Fixture.pollInterval)
      assert.isTrue(Option.isSome(yield* take))
      yield* tenants.begin(tenant)
      assert.isTrue(Option.isNone(yield* take))
      assert.strictEqual(yield* tenants.erase(tenant, step), "waiting")
      yield* options.advance(Fixture.pastLease)
      assert.strictEqual(yield* tenants.erase(tenant, step), "deleted")
    }))

  it.effect("LIFE-02 removes everything of the tenant in steps, and nothing of another", () =>
    Effect.gen(function*() {
      const tenants = yield* TenantStore
      const keys = yield* TenantKeyStore
      const [filled, untouched] = [yield* fill(Fixture.newTenant()), yield* fill(Fixture.newTenant())]
      const { tenant } = filled
      for (let n = 0; n < 3; n++) yield* fill(tenant)
      yield* tenants.begin(tenant)
      const outcomes = new Array<string>()
      while (outcomes.length === 0 || outcomes.at(-1) === "more") {
        outcomes.push(yield* tenants.erase(tenant, { patience: Duration.zero, limit: 4 }))
      }
      assert.deepStrictEqual([outcomes.length > 1, outcomes.at(-1)], [true, "deleted"])
      assert.strictEqual(yield* tenants.erase(tenant, step), "waiting")

      assert.deepStrictEqual([yield* isRecorded(filled), yield* isRecorded(untouched)], [false, true])
      assert.deepStrictEqual(yield* statuses(filled), ["none", "none", "none"])
      assert.isTrue(Option.isNone(yield* keys.find(tenant)))
      assert.deepStrictEqual(yield* statuses(untouched), ["active", "revoking", "pending"])
      assert.isTrue(Option.isSome(yield* keys.find(untouched.tenant)))
      assert.deepStrictEqual(yield* rest(untouched.tenant, untouched), {
        apiKeys: 1,
        sessions: 1,
        registrations: 1,
        servers: 1
      })
    }))

  it.effect("LIFE-02 takes late revocations until the tenant is gone, and then nothing", () =>
    Effect.gen(function*() {
      const tenants = yield* TenantStore
      const outbox = yield* RevocationOutbox
      const key = Fixture.newKey()
      const late = (id: string) => outbox.enqueue({ id, key, grant: Fixture.newGrant() })
      yield* tenants.begin(key.tenant)
      yield* late(`late ${key.path}`)
      assert.strictEqual(Option.getOrThrow(yield* tenants.find(key.tenant)).revocations, 1)
      yield* options.advance(patience)
      assert.strictEqual(yield* tenants.erase(key.tenant, step), "deleted")
      assert.strictEqual(yield* refusal(late(`later ${key.path}`)), "tenant_deleted")
      assert.strictEqual(yield* refusal(createKey(key.tenant)), "tenant_deleted")
      assert.strictEqual(yield* refusal(Fixture.reserve(key)), "tenant_deleted")
    }))

  it.effect("LIFE-02 gives the name back with nothing behind it, and not before the tenant is gone", () =>
    Effect.gen(function*() {
      const tenants = yield* TenantStore
      const { connected, tenant } = yield* fill(Fixture.newTenant())
      assert.isTrue(yield* tenants.allow(tenant))
      yield* tenants.begin(tenant)
      assert.isFalse(yield* tenants.allow(tenant))
      assert.isTrue(yield* tenants.isMarked(tenant))
      yield* options.advance(patience)
      yield* tenants.erase(tenant, step)
      assert.isTrue(yield* tenants.allow(tenant))
      assert.isTrue(yield* tenants.allow(tenant))
      assert.isTrue(Option.isNone(yield* tenants.find(tenant)))
      const connections = yield* ConnectionStore
      assert.isTrue(Option.isNone(yield* connections.get(connected)))
      assert.isTrue(yield* connections.deposit(connected, Fixture.newWrite(0)))
    }))

  it.effect("LIFE-02 takes no late revocation of a former tenant for the one that has its name now", () =>
    Effect.gen(function*() {
      const tenants = yield* TenantStore
      const outbox = yield* RevocationOutbox
      const [key, other] = [Fixture.newKey(), Fixture.newKey()]
      const enqueue = (of: ConnectionKey, issuedAt: DateTime.Utc) =>
        refusal(
          outbox.enqueue({
            id: `${DateTime.formatIso(issuedAt)} ${of.path}`,
            key: of,
            grant: Fixture.newGrant(),
            issuedAt
          })
        )
      yield* tenants.begin(key.tenant)
      yield* options.advance(patience)
      yield* tenants.erase(key.tenant, step)
      const former = Option.getOrThrow(yield* tenants.find(key.tenant)).deletedAt!
      yield* tenants.allow(key.tenant)
      yield* options.advance(patience)
      // The name was allowed once: this allows nothing.
      yield* tenants.allow(key.tenant)
      assert.strictEqual(yield* enqueue(key, former), "tenant_deleted")
      assert.strictEqual(yield* enqueue(other, former), "done")
      assert.strictEqual(yield* enqueue(key, DateTime.addDuration(former, Duration.minutes(30))), "done")
      yield* tenants.begin(key.tenant)
      assert.strictEqual(Option.getOrThrow(yield* tenants.find(key.tenant)).revocations, 1)
    }))
}
