import { assert, describe, it } from "@effect/vitest"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as FakeVault from "@valetkey/testing/FakeVault"
import * as TcpProxy from "@valetkey/testing/TcpProxy"
import { Effect, Fiber, Redacted, type Scope } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Replica from "./support/Replica.ts"

const connections = 30
const callers = 4
const nameOf = (index: number) => `c-${index}`

/** An installation whose one root key is a data key of Vault, which stands behind a proxy. */
const start = Effect.gen(function*() {
  const database = yield* EmbeddedPostgres.database
  const provider = yield* FakeProvider.make({ rotation: "rotate-revoke-family" })
  const vault = yield* FakeVault.make()
  const proxy = yield* TcpProxy.make({ port: vault.port })
  yield* vault.write("keys/valetkey")
  const { ciphertext } = yield* vault.write("datakey/wrapped/valetkey")
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "vkw-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )
  const tokenFile = join(directory, "token")
  writeFileSync(tokenFile, Redacted.value(vault.issue(["decrypt/valetkey", "datakey/wrapped/valetkey"])), {
    mode: 0o600
  })
  const deployment = Replica.deployment({
    databaseUrl: Replica.text(database.url),
    publicPort: yield* Replica.freePort,
    allowEgress: new URL(provider.origin).host
  })
  const replica = (wrapped: string): Effect.Effect<Replica.Replica, never, Scope.Scope> =>
    Replica.start({
      ...deployment.env,
      VALETKEY_KEYS: undefined,
      VALETKEY_KEYS_WRAPPED: wrapped,
      VALETKEY_VAULT_ADDR: proxy.through(vault.address),
      VALETKEY_VAULT_KEY: "valetkey",
      VALETKEY_VAULT_TOKEN_FILE: tokenFile
    }, deployment.token)
  const deposit = (to: Replica.Replica, index: number) =>
    to.call("PUT", `/v1/connections/${nameOf(index)}`, {
      tokenEndpoint: `${provider.issuer}/token`,
      refreshToken: Redacted.value(provider.grant().refreshToken),
      clientId: "fake-client",
      resource: provider.resource
    })
  return { provider, vault, proxy, replica, deposit, first: `1:${String(ciphertext)}` }
})

const token = (replica: Replica.Replica, name: string) => replica.call("POST", `/v1/connections/${name}/token`, {})

const keyOf = (replica: Replica.Replica, id: number) =>
  Effect.map(
    replica.call("GET", "/v1/keys"),
    ({ body }) =>
      (body["keys"] as ReadonlyArray<{ id: number; state: string; envelopes: number; held: boolean }>)
        .find((key) => key.id === id)
  )

const keyCheck = (replica: Replica.Replica) =>
  Effect.map(
    replica.call("GET", "/readyz"),
    ({ body }) =>
      (body["checks"] as ReadonlyArray<{ name: string; ok: boolean; reason: string }>)
        .find(({ name }) => name === "key")
  )

/** A readiness of the key that does not depend on how fast Vault was asked for the first time. */
const settled = (replica: Replica.Replica) =>
  Effect.repeat(keyCheck(replica), { until: (check) => check?.reason.startsWith("degraded") !== true })

describe("root keys that Vault wraps, on three replicas", () => {
  it.live(
    "CRY-15 I14 rotate under load with no failed token call, and are needed from Vault at a start alone",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { deposit, first, provider, proxy, replica, vault } = yield* start
        const serving = [
          ...yield* Effect.all([replica(first), replica(first), replica(first)], { concurrency: 3 })
        ]
        for (let index = 0; index < connections; index++) {
          assert.strictEqual((yield* deposit(serving[index % 3]!, index)).status, 201)
        }

        // As a load balancer does it: a replica that goes away is first given nothing new.
        const open = new Map<Replica.Replica, number>()
        let stopped = false
        let calls = 0
        const failed = new Array<unknown>()
        const load = Effect.gen(function*() {
          while (!stopped) {
            const turn = calls++
            const target = serving[turn % serving.length]!
            open.set(target, (open.get(target) ?? 0) + 1)
            const answer = yield* token(target, nameOf((turn * 7) % connections))
            open.set(target, open.get(target)! - 1)
            if (answer.status !== 200) failed.push([answer.status, answer.body["code"]])
          }
        })
        const loading = yield* Effect.forkChild(
          Effect.all(Array.from({ length: callers }, () => load), { concurrency: callers })
        )

        const added = yield* serving[0]!.call("POST", "/v1/keys")
        assert.strictEqual(added.status, 201)
        const { entry, id } = added.body as { readonly entry: string; readonly id: number }
        assert.match(entry, new RegExp(`^${id}:vault:v1:`))
        assert.isUndefined(yield* keyOf(serving[0]!, id))

        for (let index = 0; index < 3; index++) {
          const old = serving[index]!
          const fresh = yield* replica(`${first},${entry}`)
          assert.deepInclude(yield* settled(fresh), { ok: true, reason: "ok" })
          serving[index] = fresh
          yield* Effect.repeat(fresh.call("GET", "/livez"), { until: () => open.get(old) === 0 })
          old.signal("SIGTERM")
          assert.strictEqual((yield* old.ended).code, 0)
        }
        const [a, b, c] = serving as [Replica.Replica, Replica.Replica, Replica.Replica]
        assert.deepInclude(yield* keyOf(a, 1), { state: "primary", held: true })
        assert.deepInclude(yield* keyOf(a, id), { state: "active", held: true, envelopes: 0 })

        // From here on Vault is away: what it unwrapped is all that the replicas need.
        proxy.setMode("reset")
        assert.strictEqual((yield* b.call("POST", `/v1/keys/${id}/promote`)).status, 204)
        yield* Effect.repeat(
          Effect.andThen(c.call("POST", "/v1/keys/rewrap"), keyOf(a, 1)),
          { until: (key) => key?.envelopes === 0 }
        )
        yield* Effect.repeat(a.call("POST", "/v1/keys/1/retire"), { until: ({ status }) => status === 204 })
        const until = calls + 3 * connections
        yield* Effect.repeat(keyOf(b, 1), { until: () => calls > until })
        stopped = true
        yield* Fiber.join(loading)

        assert.deepStrictEqual(failed, [])
        assert.deepInclude(yield* keyOf(c, 1), { state: "retired", envelopes: 0 })
        assert.deepInclude(yield* keyOf(c, id), { state: "primary", envelopes: connections * 2 })
        assert.isTrue(provider.families.every(({ revoked }) => !revoked))
        assert.strictEqual((yield* a.call("POST", "/v1/keys")).body["code"], "encryption_key_missing")

        // A replica that starts now has no key; everything else works, and the others serve on.
        const late = yield* replica(`${entry}`)
        const refused = yield* token(late, nameOf(0))
        assert.deepStrictEqual([refused.status, refused.body["code"]], [503, "encryption_key_missing"])
        assert.strictEqual((yield* late.call("GET", "/v1/connections")).status, 200)
        assert.match(
          JSON.stringify(yield* keyCheck(late)),
          /"ok":true,"reason":"degraded: (key_service_|the key service)/
        )
        assert.strictEqual((yield* token(b, nameOf(0))).status, 200)
        const asked = vault.log.length
        proxy.setMode("forward")
        const healed = yield* Effect.repeat(token(late, nameOf(0)), { until: ({ status }) => status === 200 })
        assert.strictEqual(healed.status, 200)
        assert.strictEqual(vault.log.length, asked + 1)
        assert.deepInclude(yield* settled(late), { ok: true, reason: "ok" })
        assert.deepInclude(yield* keyOf(late, id), { state: "primary", held: true })
      })),
    300_000
  )

  it.live("I14 do not keep a probe waiting for a Vault that does not answer", () =>
    Effect.scoped(Effect.gen(function*() {
      const { first, proxy, replica } = yield* start
      proxy.setMode("blackhole")
      const waiting = yield* replica(first)
      assert.deepInclude(yield* keyCheck(waiting), {
        ok: true,
        reason: "degraded: the key service has not answered yet"
      })
      proxy.setMode("forward")
      proxy.resetAll()
      assert.deepInclude(yield* settled(waiting), { ok: true, reason: "ok" })
    })))

  it.live("CRY-05 refuse a key that Vault unwraps to other bytes than the installation knows by its id", () =>
    Effect.scoped(Effect.gen(function*() {
      const { deposit, first, replica, vault } = yield* start
      const right = yield* replica(first)
      assert.strictEqual((yield* deposit(right, 0)).status, 201)
      const other = String((yield* vault.write("datakey/wrapped/valetkey"))["ciphertext"])
      const wrong = yield* replica(`1:${other}`)
      assert.deepInclude(yield* settled(wrong), { ok: false, reason: "encryption_key_mismatch" })
      const refused = yield* token(wrong, nameOf(0))
      assert.deepStrictEqual([refused.status, refused.body["code"]], [503, "encryption_key_mismatch"])
      assert.strictEqual((yield* token(right, nameOf(0))).status, 200)
    })))
})
