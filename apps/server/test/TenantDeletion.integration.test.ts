import { assert, describe, it } from "@effect/vitest"
import { Cipher } from "@valetkey/domain/Cipher"
import { isUnderTenantKey, rowOf, type Sealed } from "@valetkey/domain/Sealed"
import { SealedRows } from "@valetkey/domain/SealedRows"
import type { TenantId } from "@valetkey/domain/Tenant"
import * as KeyRingCipher from "@valetkey/keyring/KeyRingCipher"
import * as KeySource from "@valetkey/keyring/KeySource"
import { Database } from "@valetkey/store-postgres/Database"
import * as PostgresStore from "@valetkey/store-postgres/PostgresStore"
import * as Canary from "@valetkey/testing/Canary"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import { Effect, Fiber, Layer, Redacted } from "effect"
import { randomBytes } from "node:crypto"
import * as Replica from "./support/Replica.ts"

const world = Effect.gen(function*() {
  const database = yield* EmbeddedPostgres.database
  const provider = yield* FakeProvider.make()
  const deployment = Replica.deployment({
    databaseUrl: Replica.text(database.url),
    publicPort: yield* Replica.freePort,
    allowEgress: new URL(provider.origin).host
  })
  const deposit = (call: Replica.Replica["call"], server: string) => {
    const { accessToken, refreshToken } = provider.grant()
    const tokens = { accessToken: Redacted.value(accessToken), refreshToken: Redacted.value(refreshToken) }
    return Effect.map(
      call("PUT", `/v1/connections/${server}`, {
        ...tokens,
        tokenEndpoint: `${provider.issuer}/token`,
        revocationEndpoint: `${provider.issuer}/revoke`,
        clientId: "fake-client",
        resource: provider.resource
      }),
      ({ status }) => ({ status, ...tokens })
    )
  }
  /** The database past the servers, with every key that there is. */
  const store = KeyRingCipher.layerTenantKeys({
    instanceId: "test",
    source: KeySource.fromText(Redacted.make(deployment.env["VALETKEY_KEYS"] ?? "")),
    sealing: false
  }).pipe(
    Layer.provideMerge(PostgresStore.layer({ url: database.url })),
    Layer.provideMerge(Database.layer({ url: database.url }))
  )
  const start = (env: Replica.Env = {}) => Replica.start({ ...deployment.env, ...env }, deployment.token)
  return { provider, deployment, deposit, store, start }
})

const token = (call: Replica.Replica["call"], server: string) => call("POST", `/v1/connections/${server}/token`, {})

/** How many rows each table with a column for the tenant has of one. */
const rowsOf = (tenant: string) =>
  Effect.flatMap(Database, (database) =>
    database.acrossTenants.read("rows", (sql) =>
      Effect.gen(function*() {
        const tables = yield* sql<{ name: string }>`SELECT table_name AS name FROM information_schema.columns
          WHERE table_schema = 'public' AND column_name = 'tenant'`
        const counts = yield* Effect.forEach(tables, ({ name }) =>
          Effect.map(
            sql`SELECT FROM ${sql(name)} WHERE tenant = ${tenant}`,
            (rows) => [name, rows.length] as const
          ))
        return Object.fromEntries(counts.filter(([, rows]) => rows > 0))
      })))

interface Saved {
  readonly tenant: TenantId
  readonly subject: string
  readonly server: string
  readonly epoch: string
  readonly sealed: Sealed
}

/** The access tokens of every connection as a backup holds them. */
const backup = Effect.flatMap(
  Database,
  (database) =>
    database.acrossTenants.read(
      "backup",
      (sql) =>
        sql<Saved>`SELECT tenant, subject, server, epoch, access_token AS sealed FROM connections
      WHERE access_token IS NOT NULL`
    )
)

/** What the cipher makes of each, with every key that it finds. */
const openAll = (saved: ReadonlyArray<Saved>, of: string) =>
  Effect.flatMap(
    Cipher,
    (cipher) =>
      Effect.forEach(saved.filter(({ tenant }) => tenant === of), ({ epoch, sealed, server, subject, tenant }) =>
        Effect.match(
          cipher.open(
            { table: "connections", tenant, row: rowOf(subject, server, epoch), field: "access_token", generation: 1 },
            sealed
          ),
          {
            onFailure: ({ code }): string =>
              code,
            onSuccess: Redacted.value
          }
        ))
  )

describe("the deletion of a tenant, on two replicas", () => {
  it.live(
    "LIFE-02 is refused at once, revoked, gone from every table and unreadable, and others notice nothing",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { deployment, deposit, provider, start, store } = yield* world
        const env = { VALETKEY_TENANT_KEYS: "true" }
        const [a, b] = yield* Effect.all([start(env), start(env)], { concurrency: 2 })
        const theirs = Replica.caller(b.api, Replica.tokenOf(deployment, { sub: "eve", tenant: "other" }))
        const mine = [yield* deposit(a.call, "one"), yield* deposit(b.call, "two")]
        const other = yield* deposit(theirs, "one")
        assert.deepStrictEqual([...mine, other].map(({ status }) => status), [201, 201, 201])
        const before = yield* Effect.provide(rowsOf("other"), store)

        let stopped = false
        const answers = new Array<number>()
        const loading = yield* Effect.forkChild(Effect.gen(function*() {
          while (!stopped) answers.push((yield* token(theirs, "one")).status)
        }))
        yield* Effect.repeat(Effect.yieldNow, { until: () => answers.length > 5 })

        yield* Effect.gen(function*() {
          const saved = yield* backup
          assert.isTrue(saved.every(({ sealed }) => isUnderTenantKey(sealed)))
          const open = (tenant: string) => openAll(saved, tenant)
          assert.sameMembers(yield* open("acme"), mine.map(({ accessToken }) => accessToken))
          assert.deepStrictEqual(yield* open("other"), [other.accessToken])

          assert.strictEqual((yield* theirs("DELETE", "/v1/tenants/acme")).status, 403)
          const accepted = yield* a.call("DELETE", "/v1/tenants/acme")
          assert.strictEqual(accepted.status, 202)
          for (const { call } of [b, a]) {
            for (
              const [method, path, body] of [
                ["POST", "/v1/connections/one/token", {}],
                ["GET", "/v1/connections", undefined],
                ["DELETE", "/v1/connections/two", undefined],
                ["PUT", "/v1/servers/new", { resource: provider.resource }],
                ["POST", "/v1/flows", { server: "one" }],
                ["GET", "/v1/audit", undefined]
              ] as const
            ) {
              const refused = yield* call(method, path, body)
              assert.deepStrictEqual([refused.status, refused.body["code"]], [410, "tenant_deleted"], path)
            }
          }
          // The replica that was asked dies; the other one goes on.
          a.signal("SIGKILL")
          yield* a.ended
          const again = yield* b.call("DELETE", "/v1/tenants/acme")
          assert.strictEqual(again.status, 202)
          yield* Effect.repeat(b.call("GET", "/v1/tenants/acme"), {
            until: ({ body }) => body["state"] === "deleted"
          }).pipe(Effect.timeout("60 seconds"))

          assert.sameMembers(provider.requests("revocation").map(({ status }) => status), [200, 200, 200, 200])
          assert.isFalse(provider.families.some(({ revoked }, index) => revoked !== (index < 2)))
          assert.sameMembers(Object.keys(yield* rowsOf("acme")), ["audit", "audit_heads", "tenant_deletions"])
          // A backup of the rows, the key ring and the database as it is now open nothing of the tenant.
          assert.deepStrictEqual(yield* open("acme"), ["integrity_error", "integrity_error"])
          assert.deepStrictEqual(yield* open("other"), [other.accessToken])
        }).pipe(Effect.provide(store))

        stopped = true
        yield* Fiber.join(loading)
        assert.deepStrictEqual([...new Set(answers)], [200])
        const after = yield* Effect.provide(rowsOf("other"), store)
        assert.deepStrictEqual({ ...after, audit: 0 }, { ...before, audit: 0 })

        assert.strictEqual((yield* b.call("POST", "/v1/tenants/acme/allow")).status, 204)
        const anew = yield* deposit(b.call, "one")
        assert.strictEqual(anew.status, 201)
        assert.strictEqual((yield* token(b.call, "one")).body["accessToken"], anew.accessToken)
        assert.strictEqual((yield* token(b.call, "two")).status, 404)
      })),
    120_000
  )
})

describe("data keys of tenants, turned on and off replica by replica", () => {
  it.live(
    "LIFE-06 CRY-15 every replica reads both formats, rewrap moves the old one, and a root key that rotates takes the data keys along",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { deployment, deposit, provider, start, store } = yield* world
        const on = { VALETKEY_TENANT_KEYS: "true" }
        const [old, fresh] = yield* Effect.all([start(), start(on)], { concurrency: 2 })
        const deposits = [yield* deposit(old.call, "one"), yield* deposit(fresh.call, "two")]
        const served = (replica: Replica.Replica) =>
          Effect.gen(function*() {
            for (const [index, name] of ["one", "two"].entries()) {
              const answer = yield* token(replica.call, name)
              assert.deepStrictEqual([answer.status, answer.body["accessToken"]], [200, deposits[index]!.accessToken])
            }
          })
        const counts = Effect.provide(Effect.flatMap(SealedRows, ({ counts }) => counts), store)
        yield* served(old)
        yield* served(fresh)
        assert.deepStrictEqual(
          (yield* counts).map(({ envelopes, table }) => [table, envelopes]).sort(),
          [["connections", 2], ["tenant_keys", 1]]
        )

        assert.deepInclude((yield* old.call("POST", "/v1/keys/rewrap")).body, { rewrapped: 0, done: true })
        assert.deepInclude((yield* fresh.call("POST", "/v1/keys/rewrap")).body, { rewrapped: 1, failed: 0, done: true })
        assert.deepStrictEqual(yield* counts, [{ table: "tenant_keys", keyId: 1, envelopes: 1 }])
        yield* served(old)
        yield* served(fresh)

        const back = yield* start()
        yield* served(back)
        const third = yield* deposit(back.call, "three")
        assert.strictEqual((yield* token(fresh.call, "three")).body["accessToken"], third.accessToken)
        const listed = (yield* back.call("GET", "/v1/keys")).body["keys"] as ReadonlyArray<{ envelopes: number }>
        assert.deepStrictEqual(listed.map(({ envelopes }) => envelopes), [3])

        const second = randomBytes(32).toString("base64")
        Canary.register("root_key", second)
        const both = yield* start({ ...on, VALETKEY_KEYS: `${deployment.env["VALETKEY_KEYS"]},2:${second}` })
        assert.strictEqual((yield* both.call("POST", "/v1/keys/2/promote")).status, 204)
        assert.deepInclude((yield* both.call("POST", "/v1/keys/rewrap")).body, { rewrapped: 2, failed: 0, done: true })
        assert.deepStrictEqual(yield* counts, [{ table: "tenant_keys", keyId: 2, envelopes: 1 }])
        yield* served(both)
        assert.strictEqual(provider.requests("token").length, 0)
      })),
    120_000
  )
})
