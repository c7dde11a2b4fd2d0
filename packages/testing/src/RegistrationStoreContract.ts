import { assert, describe, it, type Vitest } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { type Registration, type RegistrationKey, RegistrationStore } from "@valetkey/domain/RegistrationStore"
import { ServerSlug } from "@valetkey/domain/Server"
import { DateTime, Duration, Effect, type Layer, Option } from "effect"
import { randomUUID } from "node:crypto"
import * as Fixture from "./internal/contractFixtures.ts"

/** Runs the contract of `RegistrationStore` on a layer. */
export const suite = <R>(
  name: string,
  layer: Layer.Layer<ConnectionStore | RegistrationStore | R, unknown>,
  options: Fixture.ContractOptions<R>
): void => {
  describe(`RegistrationStore (${name})`, () => it.layer(layer, { timeout: "60 seconds" })((it) => cases(it, options)))
}

/** The cases of the contract, for a suite that shares its layer with others. */
export const cases = <R>(
  it: Vitest.MethodsNonLive<ConnectionStore | RegistrationStore | R>,
  options: Fixture.ContractOptions<R>
): void => {
  it.effect("REG-01 gives the turn to register to one of twenty callers, and to the next when it is given back", () =>
    Effect.gen(function*() {
      const registrations = yield* RegistrationStore
      const key = newKey()
      const turns = Array.from({ length: 20 }, () => randomUUID())
      const took = yield* Effect.forEach(turns, (turn) => registrations.take(key, turn, lease), {
        concurrency: "unbounded"
      })
      assert.strictEqual(took.filter((one) => one).length, 1)
      const holder = turns[took.indexOf(true)]!
      yield* registrations.give(key, randomUUID())
      assert.isFalse(yield* registrations.take(key, randomUUID(), lease))
      assert.isTrue(yield* registrations.take({ ...key, issuer: `${key.issuer}/` }, randomUUID(), lease))
      assert.isTrue(yield* registrations.take({ ...key, tenant: Fixture.newTenant() }, randomUUID(), lease))
      yield* registrations.give(key, holder)
      yield* registrations.give(key, holder)
      assert.isTrue(yield* registrations.take(key, randomUUID(), lease))
    }))

  it.effect("REG-12 gives the turn of a caller that died to another when its lease is over", () =>
    Effect.gen(function*() {
      const registrations = yield* RegistrationStore
      const key = newKey()
      const [dead, alive] = [randomUUID(), randomUUID()]
      assert.isTrue(yield* registrations.take(key, dead, lease))
      yield* options.advance(Duration.sum(lease, Duration.seconds(1)))
      assert.isTrue(yield* registrations.take(key, alive, lease))
      yield* registrations.give(key, dead)
      assert.isFalse(yield* registrations.take(key, randomUUID(), lease))
    }))

  it.effect("gives back what was put", () =>
    Effect.gen(function*() {
      const registrations = yield* RegistrationStore
      const key = newKey()
      assert.isTrue(Option.isNone(yield* registrations.get(key)))
      const registration = newRegistration()
      yield* registrations.put(key, registration)
      assert.deepStrictEqual(Option.map(yield* registrations.get(key), view), Option.some(view(registration)))
    }))

  it.effect("replaces the whole registration", () =>
    Effect.gen(function*() {
      const registrations = yield* RegistrationStore
      const key = newKey()
      yield* registrations.put(key, newRegistration())
      const { clientId } = newRegistration()
      // Without a redirect URI: it waits for devices alone.
      const publicClient: Registration = { clientId, authMethod: "none", scopes: [] }
      yield* registrations.put(key, publicClient)
      assert.deepStrictEqual(Option.map(yield* registrations.get(key), view), Option.some(view(publicClient)))
    }))

  it.effect("I10 shares no registration between tenants, servers, issuers or transports", () =>
    Effect.gen(function*() {
      const registrations = yield* RegistrationStore
      const key = newKey()
      const others: ReadonlyArray<RegistrationKey> = [
        { ...key, tenant: Fixture.newTenant() },
        { ...key, server: ServerSlug.make("another") },
        { ...key, issuer: `${key.issuer}/` },
        { ...key, transport: "gateway" }
      ]
      const registration = newRegistration()
      yield* registrations.put(key, registration)
      for (const other of others) {
        assert.isTrue(Option.isNone(yield* registrations.get(other)))
        yield* registrations.remove(other, registration.clientId)
      }
      assert.isTrue(Option.isSome(yield* registrations.get(key)))
      for (const other of others) yield* registrations.put(other, newRegistration())
      assert.deepStrictEqual(Option.map(yield* registrations.get(key), view), Option.some(view(registration)))
    }))

  it.effect("removes a registration only if it is still the client that the caller means", () =>
    Effect.gen(function*() {
      const registrations = yield* RegistrationStore
      const key = newKey()
      const old = newRegistration()
      const current = newRegistration()
      yield* registrations.remove(key, old.clientId)
      yield* registrations.put(key, old)
      yield* registrations.put(key, current)
      yield* registrations.remove(key, old.clientId)
      assert.deepStrictEqual(Option.map(yield* registrations.get(key), view), Option.some(view(current)))
      yield* registrations.remove(key, current.clientId)
      yield* registrations.remove(key, current.clientId)
      assert.isTrue(Option.isNone(yield* registrations.get(key)))
    }))

  it.effect("REG-13 has on record the client ids that were recorded, whichever tenant's, and none that a row says", () =>
    Effect.gen(function*() {
      const registrations = yield* RegistrationStore
      const connections = yield* ConnectionStore
      const key = newKey()
      // As long as an id may be.
      const clientId = `https://valetkey.example/${randomUUID()}/`.padEnd(2048, "a")
      yield* registrations.put(key, { ...newRegistration(), clientId, authMethod: "private_key_jwt" })
      const grant = Fixture.newGrant({ clientId, authMethod: "private_key_jwt" })
      assert.isTrue(yield* connections.deposit(Fixture.newKey(), { ...Fixture.newWrite(0), grant }))
      assert.isFalse(yield* registrations.isOnRecord(clientId))

      for (const tenant of [key.tenant, key.tenant, Fixture.newTenant()]) {
        yield* registrations.record(tenant, clientId)
        assert.isTrue(yield* registrations.isOnRecord(clientId))
      }
      for (const other of [clientId.slice(0, -1), clientId.toUpperCase(), `${clientId}a`, ""]) {
        assert.isFalse(yield* registrations.isOnRecord(other))
      }
      yield* registrations.remove(key, clientId)
      assert.isTrue(yield* registrations.isOnRecord(clientId))
    }))
}

const lease = Duration.seconds(30)

const newKey = (): RegistrationKey => ({
  tenant: Fixture.newTenant(),
  server: ServerSlug.make(`server-${randomUUID()}`),
  issuer: "https://as.example/tenant/a",
  transport: "loopback"
})

const newRegistration = (): Registration => ({
  clientId: `https://valetkey.example/client/${randomUUID()}?a=b`,
  authMethod: "client_secret_post",
  clientSecret: Fixture.newSealed(),
  clientSecretExpiresAt: DateTime.makeUnsafe(1_900_000_000_000),
  redirectUri: "http://127.0.0.1/callback",
  scopes: ["read", "files:write"]
})

const view = ({ clientSecret, clientSecretExpiresAt, ...rest }: Registration) => ({
  ...rest,
  clientSecret: clientSecret && Fixture.hex(clientSecret),
  clientSecretExpiresAt: clientSecretExpiresAt && DateTime.toEpochMillis(clientSecretExpiresAt)
})
