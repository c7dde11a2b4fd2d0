import { assert, type Vitest } from "@effect/vitest"
import { ApiKeyId } from "@valetkey/domain/ApiKey"
import { ApiKeyStore } from "@valetkey/domain/ApiKeyStore"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { ConsoleSessionId } from "@valetkey/domain/ConsoleSession"
import { ConsoleStore } from "@valetkey/domain/ConsoleStore"
import type { DevicePolls } from "@valetkey/domain/DevicePolls"
import { Digest } from "@valetkey/domain/Entropy"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { type RegistrationKey, RegistrationStore } from "@valetkey/domain/RegistrationStore"
import { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { rowOf } from "@valetkey/domain/Sealed"
import { Server, ServerSlug } from "@valetkey/domain/Server"
import { ServerStore } from "@valetkey/domain/ServerStore"
import type { StoreError } from "@valetkey/domain/StoreError"
import { SubjectId } from "@valetkey/domain/Subject"
import type { TenantId } from "@valetkey/domain/Tenant"
import { TenantKeyStore } from "@valetkey/domain/TenantKeyStore"
import { TenantStore } from "@valetkey/domain/TenantStore"
import { DateTime, Duration, Effect, Option } from "effect"
import { randomBytes } from "node:crypto"
import * as Steps from "./internal/connectionSteps.ts"
import * as Fixture from "./internal/contractFixtures.ts"

/** The ports that the contract writes through. */
type Ports =
  | ApiKeyStore
  | ConnectionStore
  | ConsoleStore
  | DevicePolls
  | FlowStore
  | RegistrationStore
  | RevocationOutbox
  | ServerStore
  | TenantKeyStore
  | TenantStore

const patience = Duration.hours(1)
const step = { patience, limit: 100 }

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

/** One row of every kind: a connection that is active, one that is being revoked, an open flow and all the rest. */
const fill = Effect.fnUntraced(function*(tenant: TenantId) {
  const connections = yield* ConnectionStore
  const [connected, revoking] = [Fixture.newKey({ tenant }), Fixture.newKey({ tenant })]
  const writes = [Fixture.newWrite(0), Fixture.newWrite(0)] as const
  yield* connections.deposit(connected, writes[0])
  yield* connections.deposit(revoking, writes[1])
  yield* connections.disconnect(revoking, Fixture.newEpoch())
  const { flow } = yield* Fixture.reserve(Fixture.newKey({ tenant }))
  const registration = registrationOf(tenant)
  yield* putRegistration(registration)
  const document = yield* recordDocument(tenant, randomBytes(16).toString("hex"))
  yield* putServer(tenant)
  yield* createApiKey(tenant)
  const session = yield* enterConsole(tenant)
  yield* createKey(tenant)
  return {
    tenant,
    connected,
    revoking,
    flow,
    registration,
    document,
    session,
    owed: [connected, revoking].map((key, index) =>
      rowOf(key.tenant, key.subject, key.server, writes[index]!.epoch, "1")
    )
  }
})

type Filled = Effect.Success<ReturnType<typeof fill>>

const statuses = ({ connected, flow, revoking }: Filled) =>
  Effect.gen(function*() {
    const connections = yield* ConnectionStore
    const flows = yield* FlowStore
    const of = (key: ConnectionKey) =>
      Effect.map(connections.get(key), Option.match({ onNone: () => "none", onSome: ({ status }) => status._tag }))
    const found = yield* flows.get({ id: flow.id, ...Fixture.ownerOf(flow.key) })
    const state = Option.match(found, { onNone: () => "none", onSome: ({ state }) => state })
    return [yield* of(connected), yield* of(revoking), state]
  })

const rest = Effect.fnUntraced(function*(tenant: TenantId, { registration, session }: Filled) {
  const page = { tenant, after: undefined, limit: 10 }
  const found = yield* Effect.flatMap(RegistrationStore, (store) => store.get(registration))
  return {
    sessions: Option.isSome(
        yield* Effect.flatMap(
          ConsoleStore,
          (store) => store.visit({ sessionHash: session, idle: patience, coarseness: patience })
        )
      )
      ? 1
      : 0,
    apiKeys: (yield* Effect.flatMap(ApiKeyStore, (store) => store.list(page))).length,
    registrations: Option.isSome(found) ? 1 : 0,
    servers: (yield* Effect.flatMap(ServerStore, (store) => store.list(page))).length
  }
})

const registrationOf = (tenant: TenantId): RegistrationKey => ({
  tenant,
  server: ServerSlug.make("notes"),
  issuer: "https://as.example",
  transport: "loopback"
})

const putRegistration = (key: RegistrationKey) =>
  Effect.flatMap(RegistrationStore, (store) =>
    store.put(key, {
      clientId: "client",
      authMethod: "client_secret_basic",
      clientSecret: Fixture.newSealed(),
      redirectUri: "http://127.0.0.1/callback",
      scopes: []
    }))

/** A document of a client, which is to be found until the tenant's last revocation has been signed. */
const recordDocument = (tenant: TenantId, name: string) => {
  const clientId = `https://valetkey.example/oauth/${name}/x.y/client-metadata.json`
  return Effect.as(Effect.flatMap(RegistrationStore, (store) => store.record(tenant, clientId)), clientId)
}

const isRecorded = ({ document }: Filled) => Effect.flatMap(RegistrationStore, (store) => store.isOnRecord(document))

const putServer = (tenant: TenantId) =>
  Effect.flatMap(ServerStore, (store) =>
    store.put(
      new Server({ tenant, slug: ServerSlug.make("notes"), resource: "https://notes.example/mcp", quirks: {} })
    ))

/** A session of the console, by the hash of its secret. */
const enterConsole = Effect.fnUntraced(function*(tenant: TenantId) {
  const store = yield* ConsoleStore
  const [ticketHash, sessionHash] = [newDigest(), newDigest()]
  const id = ConsoleSessionId.make(randomBytes(16).toString("hex"))
  yield* store.offer({ id, tenant, subject: SubjectId.make("ada"), scopes: [] }, { ticketHash, within: patience })
  yield* store.take({ ticketHash, sessionHash, lifetime: patience })
  return sessionHash
})

const newDigest = () => Digest.make(randomBytes(32).toString("base64url"))

const createApiKey = (tenant: TenantId) =>
  Effect.flatMap(ApiKeyStore, (store) =>
    store.create({
      id: ApiKeyId.make(`vk_${randomBytes(16).toString("hex")}`),
      tenant,
      subject: SubjectId.make("ada"),
      name: "job",
      scopes: ["tokens:read"]
    }, { digest: Fixture.newDigest(), lifetime: Duration.days(1) }))

const createKey = (tenant: TenantId) =>
  Effect.flatMap(
    TenantKeyStore,
    (store) => store.create(tenant, { id: randomBytes(4).readUInt32BE(), dataKey: Fixture.newSealed() })
  )

const refusal = <A, R>(write: Effect.Effect<A, { readonly code: string }, R>): Effect.Effect<string, never, R> =>
  Effect.match(write, { onFailure: ({ code }) => code, onSuccess: () => "done" })
