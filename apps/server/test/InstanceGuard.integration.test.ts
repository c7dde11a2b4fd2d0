import { assert, describe, it } from "@effect/vitest"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Effect, Redacted } from "effect"
import { execFileSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Replica from "./support/Replica.ts"

type Deposit = "valid" | "expired"

/** A deposit of fresh credentials; an expired access token has to be refreshed before the connection is of use. */
const depositOf = (provider: FakeProvider.FakeProvider, kind: Deposit) => {
  const { accessToken, refreshToken } = provider.grant({ clientId: "fake-client" })
  return {
    tokenEndpoint: `${provider.issuer}/token`,
    clientId: "fake-client",
    refreshToken: Redacted.value(refreshToken),
    ...(kind === "valid"
      ? { accessToken: Redacted.value(accessToken), expiresAt: new Date(Date.now() + 3_600_000).toISOString() }
      : {})
  }
}

const total = (provider: FakeProvider.FakeProvider) => provider.log.length

const checkOf = (answer: Replica.Answer) =>
  (answer.body["checks"] as ReadonlyArray<{ readonly name: string; readonly ok: boolean; readonly reason: string }>)
    .find(({ name }) => name === "instance")

/** Connections that the original filled: two whose token is good, three that must be refreshed, one to be revoked. */
const fill = Effect.fnUntraced(function*(replica: Replica.Replica, provider: FakeProvider.FakeProvider) {
  const server = { resource: provider.resource, scopes: ["read"] }
  assert.strictEqual((yield* replica.call("PUT", "/v1/servers/fake", server)).status, 201)
  for (
    const [name, kind] of [["valid", "valid"], ["stale", "expired"], ["gone", "expired"], ["lost", "expired"]] as const
  ) {
    assert.strictEqual((yield* replica.call("PUT", `/v1/connections/${name}`, depositOf(provider, kind))).status, 201)
  }
})

/** Everything that leads to a provider in an instance that may call one. */
const refusesAll = Effect.fnUntraced(function*(clone: Replica.Replica, provider: FakeProvider.FakeProvider) {
  const before = total(provider)
  for (const name of ["valid", "stale", "gone"]) {
    const answer = yield* clone.call("POST", `/v1/connections/${name}/token`, {})
    assert.deepStrictEqual([answer.status, answer.body["code"]], [503, "instance_mismatch"], name)
  }
  const started = yield* clone.call("POST", "/v1/flows", { server: "fake" })
  assert.deepStrictEqual([started.status, started.body["code"]], [503, "instance_mismatch"])
  const deposited = yield* clone.call("PUT", "/v1/connections/more", depositOf(provider, "expired"))
  assert.deepStrictEqual([deposited.status, deposited.body["code"]], [503, "instance_mismatch"])
  assert.strictEqual((yield* clone.call("GET", "/livez")).status, 200)
  const ready = yield* clone.call("GET", "/readyz")
  assert.strictEqual(ready.status, 503)
  assert.match(checkOf(ready)?.reason ?? "", /^instance_mismatch: .*valetkey takeover --confirm/)
  assert.isFalse(checkOf(ready)?.ok)
  assert.strictEqual(total(provider), before)
})

/** What the operator's confirmation makes of the copied connections. */
const takesOver = Effect.fnUntraced(function*(
  clone: Replica.Replica,
  provider: FakeProvider.FakeProvider,
  ids: { readonly from: string; readonly to: string }
) {
  const unsure = yield* clone.call("POST", "/v1/instance/takeover", { confirm: false })
  assert.strictEqual(unsure.status, 400)
  assert.deepInclude((yield* clone.call("GET", "/v1/instance")).body, { configured: ids.to, stored: ids.from })
  const taken = yield* clone.call("POST", "/v1/instance/takeover", { confirm: true })
  assert.strictEqual(taken.status, 200)
  assert.deepInclude(taken.body, { configured: ids.to, stored: ids.to })
  assert.strictEqual(checkOf(yield* clone.call("GET", "/readyz"))?.ok, true)

  const before = provider.requests("token").length
  const valid = yield* clone.call("POST", "/v1/connections/valid/token", {})
  assert.strictEqual(valid.status, 200)
  assert.isTrue(provider.isActive(String(valid.body["accessToken"])))
  assert.strictEqual(provider.requests("token").length, before)

  const stale = yield* clone.call("POST", "/v1/connections/stale/token", {})
  assert.deepStrictEqual([stale.status, stale.body["generation"]], [200, 2])

  provider.always("token", Reply.error("invalid_grant"))
  const gone = yield* clone.call("POST", "/v1/connections/gone/token", {})
  assert.strictEqual(gone.status, 409)
  assert.strictEqual(gone.body["code"], "reauthorization_required")
  assert.include(JSON.stringify((yield* clone.call("GET", "/v1/connections/gone")).body), "restored_credentials")

  const sent = provider.requests("token").length
  provider.always("token", Reply.reset)
  const lost = yield* clone.call("POST", "/v1/connections/lost/token", {})
  assert.deepStrictEqual([lost.status, lost.body["code"]], [409, "reauthorization_required"])
  assert.strictEqual(provider.requests("token").length - sent, 2)
  assert.include(JSON.stringify((yield* clone.call("GET", "/v1/connections/lost")).body), "restored_credentials")
})

describe("the instance guard", () => {
  it.live("I24 LIFE-03 LIFE-04 a copied Postgres database calls nobody until it is taken over", () =>
    Effect.scoped(Effect.gen(function*() {
      const original = yield* EmbeddedPostgres.database
      const provider = yield* FakeProvider.make()
      const deployment = Replica.deployment({
        databaseUrl: Replica.text(original.url),
        publicPort: yield* Replica.freePort,
        allowEgress: new URL(provider.origin).host
      })
      yield* Effect.scoped(Effect.gen(function*() {
        const replica = yield* Replica.start(deployment.env, deployment.token)
        yield* fill(replica, provider)
        assert.strictEqual(checkOf(yield* replica.call("GET", "/readyz"))?.ok, true)
      }))
      const copy = yield* EmbeddedPostgres.copyOf(original)
      const clone = yield* Replica.start({
        ...deployment.env,
        DATABASE_URL: Replica.text(copy.url),
        VALETKEY_INSTANCE_ID: "staging"
      }, deployment.token)
      yield* refusesAll(clone, provider)
      yield* takesOver(clone, provider, { from: "test", to: "staging" })
    })))

  it.live("I24 LIFE-03 LIFE-04 a copied SQLite directory calls nobody until it is taken over", () =>
    Effect.scoped(Effect.gen(function*() {
      const directory = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "vki-"))),
        (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
      )
      const [original, copy] = [join(directory, "original"), join(directory, "copy")]
      const provider = yield* FakeProvider.make()
      const start = (home: string, env: Replica.Env = {}) =>
        Effect.gen(function*() {
          const server = yield* Replica.start({ VALETKEY_HOME: home, VALETKEY_LISTEN: "127.0.0.1:0", ...env })
          return {
            ...server,
            call: Replica.caller(server.api, readFileSync(join(home, "run", "token"), "utf8").trim())
          }
        })
      yield* Effect.scoped(Effect.gen(function*() {
        yield* fill(yield* start(original), provider)
      }))
      const from = readFileSync(join(original, "config", "instance"), "utf8").trim()
      execFileSync("cp", ["-a", original, copy])
      rmSync(join(copy, "run"), { recursive: true })
      const clone = yield* start(copy, { VALETKEY_INSTANCE_ID: "laptop" })
      yield* refusesAll(clone, provider)
      yield* takesOver(clone, provider, { from, to: "laptop" })
    })))
})
