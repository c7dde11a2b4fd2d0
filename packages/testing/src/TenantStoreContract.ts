import { assert, type Vitest } from "@effect/vitest"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { FlowStore } from "@valetkey/domain/FlowStore"
import type { StoreError } from "@valetkey/domain/StoreError"
import { TenantKeyStore } from "@valetkey/domain/TenantKeyStore"
import { TenantStore } from "@valetkey/domain/TenantStore"
import { Duration, Effect, Option } from "effect"
import * as Steps from "./internal/connectionSteps.ts"
import * as Fixture from "./internal/contractFixtures.ts"
import * as TenantErasure from "./internal/tenantErasureCases.ts"
import {
  createApiKey,
  createKey,
  enterConsole,
  fill,
  isRecorded,
  patience,
  type Ports,
  putRegistration,
  putServer,
  recordDocument,
  refusal,
  registrationOf,
  rest,
  statuses,
  step
} from "./internal/tenantRows.ts"

/** The cases of the contracts of `TenantStore` and `TenantKeyStore`, for a suite that shares its layer with others. */
export const cases = <R>(it: Vitest.MethodsNonLive<Ports | R>, options: Fixture.ContractOptions<R>): void => {
  it.effect("LIFE-02 refuses from the mark on every row that the tenant would be given, and no other tenant's", () =>
    Effect.gen(function*() {
      const tenants = yield* TenantStore
      const [tenant, other] = [Fixture.newTenant(), Fixture.newTenant()]
      const filled = yield* fill(tenant)
      const untouched = yield* fill(other)
      const { revoking } = filled
      assert.isFalse(yield* tenants.isMarked(tenant))
      assert.deepStrictEqual(yield* tenants.begin(tenant), [filled.flow.id])
      assert.isTrue(yield* tenants.isMarked(tenant))

      assert.deepStrictEqual(yield* statuses(filled), ["quarantined", "revoking", "cancelled"])
      assert.isTrue(yield* isRecorded(filled))
      assert.deepStrictEqual(yield* rest(tenant, filled), { apiKeys: 0, sessions: 0, registrations: 0, servers: 0 })
      const connections = yield* ConnectionStore
      for (
        const late of [
          Fixture.reserve(filled.connected),
          Fixture.reserve(Fixture.newKey({ tenant })),
          connections.deposit(Fixture.newKey({ tenant }), Fixture.newWrite(0)),
          connections.deposit(filled.connected, Fixture.newWrite(1)),
          connections.deposit(revoking, Fixture.newWrite(1)),
          putRegistration(registrationOf(tenant)),
          recordDocument(tenant, "late"),
          putServer(tenant),
          createApiKey(tenant),
          enterConsole(tenant)
        ] as ReadonlyArray<Effect.Effect<unknown, StoreError, Ports>>
      ) assert.strictEqual(yield* refusal(late), "tenant_deleted")
      assert.deepStrictEqual(yield* statuses(filled), ["quarantined", "revoking", "cancelled"])

      assert.isFalse(yield* tenants.isMarked(other))
      assert.deepStrictEqual(yield* statuses(untouched), ["active", "revoking", "pending"])
      assert.deepStrictEqual(yield* rest(other, untouched), { apiKeys: 1, sessions: 1, registrations: 1, servers: 1 })
      assert.isTrue(yield* connections.deposit(Fixture.newKey({ tenant: other }), Fixture.newWrite(0)))
    }))

  it.effect("LIFE-02 lets no refresh and no exchange that was under way bring the tenant back", () =>
    Effect.gen(function*() {
      const tenants = yield* TenantStore
      const connections = yield* ConnectionStore
      const flows = yield* FlowStore
      const { epoch, key } = yield* Steps.connected
      const fence = yield* Steps.claimed(key, 1)
      assert.isTrue(yield* Steps.markSent(key, 1, fence))
      const late = yield* Fixture.exchangingFlow(Fixture.newKey({ tenant: key.tenant }))

      yield* tenants.begin(key.tenant)
      assert.isFalse(yield* Steps.markSent(key, 1, fence))
      assert.isFalse(
        yield* connections.commit(key, {
          generation: Fixture.generation(1),
          epoch,
          credentials: Fixture.newCredentials(),
          resultId: "late"
        })
      )
      assert.strictEqual((yield* Steps.claim(key, 1))._tag, "Moved")
      assert.strictEqual((yield* flows.complete(late.id, late.claimed.fence, Fixture.newWrite(0)))._tag, "ClaimLost")
      assert.strictEqual(Option.getOrThrow(yield* connections.get(key)).status._tag, "quarantined")
      assert.isTrue(Option.isNone(yield* connections.get(late.key)))
    }))

  it.effect("LIFE-02 lets whoever writes at the instant of the mark be refused, or be marked as well", () =>
    Effect.gen(function*() {
      const tenants = yield* TenantStore
      const connections = yield* ConnectionStore
      const tenant = Fixture.newTenant()
      const keys = Array.from({ length: 24 }, () => Fixture.newKey({ tenant }))
      const write = (key: ConnectionKey) => Effect.ignore(connections.deposit(key, Fixture.newWrite(0)))
      const half = keys.length / 2
      yield* Effect.all([
        ...keys.slice(0, half).map(write),
        tenants.begin(tenant),
        ...keys.slice(half).map(write)
      ], { concurrency: "unbounded" })
      const found = yield* Effect.forEach(keys, (key) => connections.get(key))
      const active = found.filter((one) => Option.isSome(one) && one.value.status._tag === "active")
      assert.lengthOf(active, 0)
    }))

  it.effect("LIFE-02 marks once: the second time changes nothing, also of a tenant that is gone", () =>
    Effect.gen(function*() {
      const tenants = yield* TenantStore
      const { flow, tenant } = yield* fill(Fixture.newTenant())
      assert.isTrue(Option.isNone(yield* tenants.find(tenant)))
      assert.deepStrictEqual(yield* tenants.begin(tenant), [flow.id])
      const first = Option.getOrThrow(yield* tenants.find(tenant))
      assert.deepStrictEqual([first.deletedAt, first.connections, first.revocations], [undefined, 1, 1])
      yield* options.advance(Duration.minutes(1))
      assert.deepStrictEqual(yield* tenants.begin(tenant), [])
      assert.deepStrictEqual(Option.getOrThrow(yield* tenants.find(tenant)).requestedAt, first.requestedAt)
      yield* options.advance(patience)
      assert.strictEqual(yield* tenants.erase(tenant, step), "deleted")
      assert.deepStrictEqual(yield* tenants.begin(tenant), [])
      assert.isDefined(Option.getOrThrow(yield* tenants.find(tenant)).deletedAt)
    }))

  it.effect("LIFE-02 refuses a start of a marked tenant, and none of those that come at the same time", () =>
    Effect.gen(function*() {
      const tenants = yield* TenantStore
      const marked = Fixture.newTenant()
      yield* tenants.begin(marked)
      const keys = Array.from({ length: 12 }, (_, n) => Fixture.newKey(n % 4 === 0 ? { tenant: marked } : {}))
      const results = yield* Effect.all(keys.map((key) => Effect.result(Fixture.reserve(key))), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(
        results.map((result) => result._tag === "Success" ? result.success._tag : result.failure.code),
        keys.map(({ tenant }) => tenant === marked ? "tenant_deleted" : "Reserved")
      )
    }))

  TenantErasure.cases(it, options)

  it.effect("gives a tenant one data key, whoever makes it at the same time", () =>
    Effect.gen(function*() {
      const keys = yield* TenantKeyStore
      const [tenant, other] = [Fixture.newTenant(), Fixture.newTenant()]
      assert.isTrue(Option.isNone(yield* keys.find(tenant)))
      const made = yield* Effect.all(Array.from({ length: 10 }, () => createKey(tenant)), { concurrency: "unbounded" })
      assert.lengthOf(new Set(made.map(({ dataKey, id }) => `${id} ${Fixture.hex(dataKey)}`)), 1)
      const found = Option.getOrThrow(yield* keys.find(tenant))
      assert.deepStrictEqual([found.id, Fixture.hex(found.dataKey)], [made[0]!.id, Fixture.hex(made[0]!.dataKey)])
      assert.isTrue(Option.isNone(yield* keys.find(other)))
    }))
}
