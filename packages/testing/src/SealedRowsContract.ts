import { assert, describe, it, type Vitest } from "@effect/vitest"
import { type Connection, type ConnectionKey, sealContext as connectionContext } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import type { DevicePolls } from "@valetkey/domain/DevicePolls"
import { sealContext as flowContext } from "@valetkey/domain/Flow"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { RegistrationStore, sealContext as registrationContext } from "@valetkey/domain/RegistrationStore"
import { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { Sealed } from "@valetkey/domain/Sealed"
import { type SealedRow, SealedRows, type SealedTable, sealedTables } from "@valetkey/domain/SealedRows"
import { Server, ServerSlug } from "@valetkey/domain/Server"
import { sealContext as serverContext, ServerStore } from "@valetkey/domain/ServerStore"
import { sealContext as tenantKeyContext, TenantKeyStore } from "@valetkey/domain/TenantKeyStore"
import { Duration, Effect, type Layer, Option } from "effect"
import { randomBytes, randomUUID } from "node:crypto"
import * as Fixture from "./internal/contractFixtures.ts"

/** The ports that the contract writes through. */
type Ports =
  | SealedRows
  | ConnectionStore
  | DevicePolls
  | FlowStore
  | RegistrationStore
  | RevocationOutbox
  | ServerStore
  | TenantKeyStore

/** Runs the contract of `SealedRows` on a layer. */
export const suite = <R>(name: string, layer: Layer.Layer<Ports | R, unknown>): void => {
  describe(`SealedRows (${name})`, () => it.layer(layer, { timeout: "60 seconds" })((it) => cases(it)))
}

/** The cases of the contract, for a suite that shares its layer with others. */
export const cases = (it: Vitest.MethodsNonLive<Ports>): void => {
  it.effect("S3.14 S3.15 counts and finds the envelopes of every table by their key, with the contexts that open them", () =>
    Effect.gen(function*() {
      const rows = yield* SealedRows
      const keyId = newKeyId()
      const { connection, flow, registration, revocation, server, tenantKey } = yield* everywhere(keyId)
      assert.deepStrictEqual(
        (yield* rows.counts).filter((count) => count.keyId === keyId).map(({ envelopes, table }) => [table, envelopes])
          .sort(),
        [
          ["connections", 4],
          ["flows", 3],
          ["registrations", 1],
          ["revocations", 1],
          ["servers", 1],
          ["tenant_keys", 1]
        ]
      )
      const contexts = yield* Effect.map(
        Effect.forEach(sealedTables, (table) => pageOf(table, [keyId])),
        (pages) => pages.flat().flatMap(({ envelopes }) => envelopes.map(({ context }) => context))
      )
      assert.deepStrictEqual(contexts, [
        connectionContext(connection.key, connection.epoch, "access_token", 1),
        connectionContext(connection.key, connection.epoch, "refresh_token", 1),
        connectionContext(connection.key, connection.epoch, "client_secret", 0),
        connectionContext(connection.key, connection.epoch, "account", 0),
        flowContext(flow.key.tenant, flow.id, "code_verifier"),
        flowContext(flow.key.tenant, flow.id, "client_secret"),
        flowContext(flow.key.tenant, flow.id, "authorization_url"),
        registrationContext(registration),
        serverContext(server.tenant, server.slug),
        revocation,
        tenantKeyContext(tenantKey, 7)
      ])
    }))

  it.effect("S3.15 CRY-15 replaces every envelope, and what the ports read is the new one", () =>
    Effect.gen(function*() {
      const rows = yield* SealedRows
      const [keyId, next] = [newKeyId(), newKeyId()]
      yield* everywhere(keyId)
      for (const table of sealedTables) {
        const page = yield* pageOf(table, [keyId])
        assert.strictEqual(page.length, 1)
        assert.strictEqual(yield* rows.replace(page.map((row) => renewed(row, next))), 1)
        assert.deepStrictEqual(yield* pageOf(table, [keyId]), [])
        const after = yield* pageOf(table, [next])
        assert.deepStrictEqual(after.map(identity), page.map(identity))
      }
      assert.deepStrictEqual((yield* rows.counts).filter((count) => count.keyId === keyId), [])
    }))

  it.effect("S3.15 EXT-01 finds and replaces the device code of a flow that waits for a device", () =>
    Effect.gen(function*() {
      const rows = yield* SealedRows
      const [keyId, next] = [newKeyId(), newKeyId()]
      const flow = yield* Fixture.deviceFlow(Fixture.newKey(), {
        deviceCode: sealedUnder(keyId),
        clientSecret: sealedUnder(keyId),
        interval: Duration.zero
      })
      const [row] = yield* pageOf("flows", [keyId])
      const contextsOf = (["client_secret", "device_code"] as const).map((field) =>
        flowContext(flow.key.tenant, flow.id, field)
      )
      assert.deepStrictEqual(row?.envelopes.map(({ context }) => context), contextsOf)
      const change = renewed(row!, next)
      assert.strictEqual(yield* rows.replace([change]), 1)
      assert.deepStrictEqual(yield* pageOf("flows", [keyId]), [])
      const poll = Option.getOrThrow(yield* flow.take)
      assert.deepStrictEqual(
        [poll.clientSecret!, poll.deviceCode].map(Fixture.hex),
        change.sealed.map(Fixture.hex)
      )
      yield* (yield* FlowStore).cancel(flow.owner)
      assert.deepStrictEqual(yield* pageOf("flows", [next]), [])
    }))

  it.effect("finds only the envelopes of the row that are under the keys asked for", () =>
    Effect.gen(function*() {
      const rows = yield* SealedRows
      const [one, two] = [newKeyId(), newKeyId()]
      const key = Fixture.newKey()
      yield* deposit(key, one, two)
      const [row] = yield* pageOf("connections", [one])
      assert.deepStrictEqual(row?.envelopes.map(({ context }) => context.field), [
        "access_token",
        "client_secret",
        "account"
      ])
      assert.strictEqual(yield* rows.replace([renewed(row!, two)]), 1)
      assert.deepStrictEqual(yield* pageOf("connections", [one]), [])
      const [whole] = yield* pageOf("connections", [two])
      assert.strictEqual(whole?.envelopes.length, 4)
    }))

  it.effect("LIFE-06 leaves out what is under a data key, whatever id that has", () =>
    Effect.gen(function*() {
      const rows = yield* SealedRows
      const store = yield* ConnectionStore
      const keyId = newKeyId()
      const key = Fixture.newKey()
      yield* store.deposit(key, {
        ...write(keyId),
        credentials: { ...credentialsUnder(keyId), accessToken: underTenantKey(sealedUnder(keyId)) }
      })
      const counts = (yield* rows.counts).filter((count) => count.keyId === keyId)
      assert.deepStrictEqual(counts, [{ table: "connections", keyId, envelopes: 3 }])
      const [row] = yield* pageOf("connections", [keyId])
      assert.deepStrictEqual(row?.envelopes.map(({ context }) => context.field), [
        "refresh_token",
        "client_secret",
        "account"
      ])
      const moved = row!.envelopes.map(() => underTenantKey(sealedUnder(keyId)))
      assert.strictEqual(yield* rows.replace([{ row: row!, sealed: moved }]), 1)
      assert.deepStrictEqual(yield* pageOf("connections", [keyId]), [])
      assert.deepStrictEqual((yield* rows.counts).filter((count) => count.keyId === keyId), [])
    }))

  it.effect("pages in the order of the ids, across tenants", () =>
    Effect.gen(function*() {
      const keyId = newKeyId()
      const keys = Array.from({ length: 7 }, () => Fixture.newKey())
      for (const key of keys) yield* deposit(key, keyId)
      const all = yield* pageOf("connections", [keyId])
      assert.strictEqual(all.length, 7)
      const read = new Array<string>()
      let after: SealedRow["id"] | undefined
      for (let page = 0; page < 4; page++) {
        const found = yield* pageOf("connections", [keyId], after, 2)
        read.push(...found.map(({ id }) => id.join(" ")))
        after = found.at(-1)?.id
      }
      assert.deepStrictEqual(read, all.map(({ id }) => id.join(" ")))
      assert.deepStrictEqual(
        [...read].sort(),
        keys.map((key) => [key.tenant, key.subject, key.server].join(" ")).sort()
      )
    }))

  it.effect("CRY-17 never overwrites what was written meanwhile", () =>
    Effect.gen(function*() {
      const rows = yield* SealedRows
      const store = yield* ConnectionStore
      const [keyId, next] = [newKeyId(), newKeyId()]
      const [refreshed, deposited, gone, still] = Array.from({ length: 4 }, () => Fixture.newKey())
      for (const key of [refreshed!, deposited!, gone!, still!]) yield* deposit(key, keyId)
      const page = yield* pageOf("connections", [keyId])
      assert.strictEqual(page.length, 4)
      const before = yield* current(refreshed!)
      yield* store.commit(refreshed!, {
        generation: before.generation,
        epoch: before.epoch,
        credentials: credentialsUnder(keyId),
        resultId: randomUUID()
      })
      yield* store.deposit(deposited!, { ...write(keyId), previous: 1 })
      yield* store.disconnect(gone!, Fixture.newEpoch())
      const written = [yield* current(refreshed!), yield* current(deposited!), yield* current(gone!)]
      assert.strictEqual(yield* rows.replace(page.map((row) => renewed(row, next))), 1)
      for (const connection of written) {
        assert.deepStrictEqual(
          Fixture.connectionView(yield* current(connection.key)),
          Fixture.connectionView(connection)
        )
      }
      assert.strictEqual((yield* pageOf("connections", [next])).length, 1)
    }))

  it.effect("CRY-17 lets one of two rewraps of the same row win", () =>
    Effect.gen(function*() {
      const rows = yield* SealedRows
      const [keyId, one, two] = [newKeyId(), newKeyId(), newKeyId()]
      yield* deposit(Fixture.newKey(), keyId)
      const page = yield* pageOf("connections", [keyId])
      const counts = yield* Effect.all(
        [one, two].map((next) => rows.replace(page.map((row) => renewed(row, next)))),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual([...counts].sort(), [0, 1])
    }))
}

const newKeyId = (): number => randomBytes(4).readUInt32BE()

const sealedUnder = (keyId: number): Sealed => {
  const bytes = randomBytes(120)
  bytes.writeUInt32BE(keyId, 4)
  return Sealed.make(new Uint8Array(bytes))
}

/** The same bytes in format 2, whose key id is that of a data key. */
const underTenantKey = (sealed: Sealed): Sealed => {
  sealed.set(Buffer.from("VK02"))
  return sealed
}

const credentialsUnder = (keyId: number, refresh = keyId) => ({
  ...Fixture.newCredentials(),
  accessToken: sealedUnder(keyId),
  refreshToken: sealedUnder(refresh)
})

const write = (keyId: number, refresh?: number) => ({
  epoch: Fixture.newEpoch(),
  previous: 0,
  grant: Fixture.newGrant(),
  clientSecret: sealedUnder(keyId),
  credentials: credentialsUnder(keyId, refresh),
  account: sealedUnder(keyId)
})

const deposit = (key: ConnectionKey, keyId: number, refresh?: number) =>
  Effect.flatMap(ConnectionStore, (store) => store.deposit(key, write(keyId, refresh)))

const current = (key: ConnectionKey): Effect.Effect<Connection, unknown, ConnectionStore> =>
  Effect.flatMap(ConnectionStore, (store) => Effect.map(store.get(key), Option.getOrThrow))

/** One row in every table, its secrets under the key. */
const everywhere = Effect.fnUntraced(function*(keyId: number) {
  const key = Fixture.newKey()
  yield* deposit(key, keyId)
  const flow = yield* Fixture.startFlow(Fixture.newKey(), {
    codeVerifier: sealedUnder(keyId),
    clientSecret: sealedUnder(keyId)
  }, { ticketHash: Fixture.newDigest(), authorizationUrl: sealedUnder(keyId) })
  const registration = {
    tenant: Fixture.newTenant(),
    server: ServerSlug.make("other"),
    issuer: "https://as.example/tenant/a",
    transport: "gateway"
  } as const
  yield* (yield* RegistrationStore).put(registration, {
    clientId: "client",
    authMethod: "client_secret_post",
    clientSecret: sealedUnder(keyId),
    redirectUri: "https://valetkey.example/callback/x",
    scopes: []
  })
  const server = Server.make({
    tenant: Fixture.newTenant(),
    slug: ServerSlug.make("registered"),
    resource: "https://api.example/mcp",
    client: { clientId: "client", authMethod: "client_secret_basic", clientSecret: sealedUnder(keyId) },
    quirks: {}
  })
  yield* (yield* ServerStore).put(server)
  const owed = Fixture.newKey()
  const revocation = connectionContext(owed, Fixture.newEpoch(), "refresh_token", 4)
  yield* (yield* RevocationOutbox).enqueue({
    id: randomUUID(),
    key: owed,
    grant: Fixture.newGrant(),
    refreshToken: { sealed: sealedUnder(keyId), context: revocation }
  })
  const tenantKey = Fixture.newTenant()
  yield* (yield* TenantKeyStore).create(tenantKey, { id: 7, dataKey: sealedUnder(keyId) })
  return { connection: yield* current(key), flow, registration, server, revocation, tenantKey }
})

const pageOf = (
  table: SealedTable,
  keyIds: ReadonlyArray<number>,
  after?: SealedRow["id"],
  limit = 100
) => Effect.flatMap(SealedRows, (rows) => rows.page({ table, keyIds, after, limit }))

const renewed = (row: SealedRow, keyId: number) => ({ row, sealed: row.envelopes.map(() => sealedUnder(keyId)) })

const identity = ({ envelopes, ...row }: SealedRow) => ({ ...row, contexts: envelopes.map(({ context }) => context) })
