import { assert, describe, it } from "@effect/vitest"
import { Cipher } from "@valetkey/domain/Cipher"
import { ConnectionKey, Epoch, sealContext } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { SealedRows } from "@valetkey/domain/SealedRows"
import { ServerSlug } from "@valetkey/domain/Server"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import * as KeyRingCipher from "@valetkey/keyring/KeyRingCipher"
import * as KeySource from "@valetkey/keyring/KeySource"
import * as PostgresStore from "@valetkey/store-postgres/PostgresStore"
import * as Canary from "@valetkey/testing/Canary"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import { DateTime, Effect, Exit, Fiber, Layer, Redacted } from "effect"
import { randomBytes, randomUUID } from "node:crypto"
import * as Replica from "./support/Replica.ts"

// VALETKEY_PROOF_CONNECTIONS=100000 VALETKEY_PROOF_KILLS=20 is the long proof.
const connections = Number(process.env["VALETKEY_PROOF_CONNECTIONS"] ?? 2000)
const kills = Number(process.env["VALETKEY_PROOF_KILLS"] ?? 3)
const callers = 6

const newKey = (id: number): string => {
  const key = randomBytes(32).toString("base64")
  Canary.register("root_key", key)
  return `${id}:${key}`
}

const nameOf = (index: number) => `c-${index}`

/** Fills the store as a server with the one key did; every tenth connection has to be refreshed when it is used. */
const fill = Effect.fnUntraced(function*(provider: FakeProvider.FakeProvider) {
  const store = yield* ConnectionStore
  const cipher = yield* Cipher
  const now = yield* DateTime.now
  yield* Effect.forEach(Array.from({ length: connections }, (_, index) => index), (index) =>
    Effect.gen(function*() {
      const key = new ConnectionKey({
        tenant: TenantId.make("acme"),
        subject: SubjectId.make("alice"),
        server: ServerSlug.make(nameOf(index))
      })
      const epoch = Epoch.make(randomUUID())
      const { accessToken, refreshToken } = provider.grant()
      yield* store.deposit(key, {
        epoch,
        previous: 0,
        grant: {
          issuer: provider.issuer,
          tokenEndpoint: `${provider.issuer}/token`,
          clientId: "fake-client",
          authMethod: "none",
          resource: provider.resource,
          redemptionPolicy: "strict"
        },
        credentials: {
          accessToken: yield* cipher.seal(sealContext(key, epoch, "access_token", 1), accessToken),
          refreshToken: yield* cipher.seal(sealContext(key, epoch, "refresh_token", 1), refreshToken),
          tokenType: "Bearer",
          issuedAt: DateTime.subtract(now, { hours: 2 }),
          expiresAt: DateTime.add(now, { hours: index % 10 === 0 ? -1 : 1 })
        }
      })
    }), { concurrency: 8, discard: true })
})

const stateOf = (replica: Replica.Replica, id: number) =>
  Effect.map(
    replica.call("GET", "/v1/keys"),
    ({ body }) =>
      (body["keys"] as ReadonlyArray<{ id: number; state: string; envelopes: number; held: boolean }>)
        .find((key) => key.id === id)!
  )

describe(`rotation of the root key of ${connections} connections on three replicas`, () => {
  it.live(
    `S3.15 CRY-15 CRY-17 loses no token call and leaves nothing under the old key, though rewrap is killed ${kills} times`,
    () =>
      Effect.scoped(Effect.gen(function*() {
        const database = yield* EmbeddedPostgres.database
        const provider = yield* FakeProvider.make({ rotation: "rotate-revoke-family" })
        const deployment = Replica.deployment({
          databaseUrl: Replica.text(database.url),
          publicPort: yield* Replica.freePort,
          allowEgress: new URL(provider.origin).host
        })
        const [one, two] = [newKey(1), newKey(2)]
        const before = KeyRingCipher.layerRegistered({
          instanceId: "test",
          source: KeySource.fromText(Redacted.make(one))
        }).pipe(Layer.provideMerge(PostgresStore.layer({ url: database.url })))

        const program = Effect.gen(function*() {
          yield* fill(provider)
          const start = Replica.start({ ...deployment.env, VALETKEY_KEYS: `${two},${one}` }, deployment.token)
          const [a, b, first] = yield* Effect.all([start, start, start], { concurrency: 3 })
          assert.deepInclude(yield* stateOf(a, 1), { state: "primary", held: true, envelopes: connections * 2 })

          // The load never asks the replica that is going to be killed.
          let stopped = false
          let calls = 0
          const failed = new Array<unknown>()
          const load = Effect.gen(function*() {
            while (!stopped) {
              const replica = calls % 2 === 0 ? a : b
              const name = nameOf((calls * 7919) % connections)
              calls++
              const answer = yield* replica.call("POST", `/v1/connections/${name}/token`, {})
              if (answer.status !== 200) failed.push([answer.status, answer.body["code"]])
            }
          })
          const loading = yield* Effect.forkChild(
            Effect.all(Array.from({ length: callers }, () => load), { concurrency: callers })
          )

          assert.strictEqual((yield* b.call("POST", "/v1/keys/2/promote")).status, 204)
          let victim = first
          let left = (yield* stateOf(a, 1)).envelopes
          let killed = 0
          while (killed < kills && left > 0) {
            const dying = yield* Effect.forkChild(Effect.exit(victim.call("POST", "/v1/keys/rewrap")))
            const from = left
            left = (yield* Effect.repeat(stateOf(a, 1), { until: ({ envelopes }) => envelopes < from })).envelopes
            victim.signal("SIGKILL")
            if (Exit.isFailure(yield* Fiber.join(dying))) killed++
            yield* victim.ended
            victim = yield* start
          }
          assert.isAtLeast(killed, Math.min(2, kills))
          yield* Effect.repeat(victim.call("POST", "/v1/keys/rewrap"), { until: ({ body }) => body["done"] === true })
          yield* Effect.repeat(
            Effect.andThen(victim.call("POST", "/v1/keys/rewrap"), stateOf(a, 1)),
            { until: ({ envelopes }) => envelopes === 0 }
          )
          yield* Effect.repeat(a.call("POST", "/v1/keys/1/retire"), { until: ({ status }) => status === 204 })

          // Every replica has heard of it when a second round over all that it has read before still succeeds.
          const until = calls + connections / 4
          yield* Effect.repeat(stateOf(b, 1), { until: () => calls > until })
          stopped = true
          yield* Fiber.join(loading)

          assert.deepStrictEqual(failed, [])
          const rows = yield* (yield* SealedRows).counts
          assert.deepStrictEqual([...new Set(rows.map(({ keyId }) => keyId))], [2])
          assert.strictEqual(rows.reduce((sum, { envelopes }) => sum + envelopes, 0), connections * 2)
          assert.deepInclude(yield* stateOf(victim, 1), { state: "retired", envelopes: 0 })
          assert.isTrue(provider.families.every(({ revoked }) => !revoked))
          for (const replica of [a, b, victim]) {
            assert.strictEqual((yield* replica.call("POST", "/v1/connections/c-0/token", {})).status, 200)
          }
        })
        yield* program.pipe(Effect.provide(before))
      })),
    1_200_000
  )
})

describe("a replica with another key under a known id", () => {
  it.live("CRY-05 is not ready, serves no secret, changes nothing, and works when the right key is back", () =>
    Effect.scoped(Effect.gen(function*() {
      const database = yield* EmbeddedPostgres.database
      const provider = yield* FakeProvider.make()
      const deployment = Replica.deployment({
        databaseUrl: Replica.text(database.url),
        publicPort: yield* Replica.freePort,
        allowEgress: new URL(provider.origin).host
      })
      const start = (env: Replica.Env = {}) => Replica.start({ ...deployment.env, ...env }, deployment.token)
      const token = (replica: Replica.Replica) => replica.call("POST", "/v1/connections/fake/token", {})
      const right = yield* start()
      const deposit = {
        tokenEndpoint: `${provider.issuer}/token`,
        refreshToken: Redacted.value(provider.grant().refreshToken),
        clientId: "fake-client",
        resource: provider.resource
      }
      assert.strictEqual((yield* right.call("PUT", "/v1/connections/fake", deposit)).status, 201)

      const wrong = yield* start({ VALETKEY_KEYS: newKey(1) })
      const ready = yield* wrong.call("GET", "/readyz")
      assert.strictEqual(ready.status, 503)
      assert.deepInclude(ready.body["checks"], { name: "key", ok: false, reason: "encryption_key_mismatch" })
      const refused = yield* token(wrong)
      assert.strictEqual(refused.status, 503)
      assert.strictEqual(refused.body["code"], "encryption_key_mismatch")
      const written = yield* wrong.call("PUT", "/v1/connections/other", deposit)
      assert.strictEqual(written.body["code"], "encryption_key_mismatch")
      assert.strictEqual((yield* right.call("GET", "/v1/connections/other")).status, 404)
      assert.strictEqual((yield* right.call("GET", "/v1/connections/fake")).body["status"], "active")
      assert.strictEqual(provider.requests("token").length, 0)

      const again = yield* start()
      assert.strictEqual((yield* again.call("GET", "/readyz")).status, 200)
      assert.strictEqual((yield* token(again)).status, 200)
      assert.strictEqual(provider.requests("token").length, 1)
    })))
})
