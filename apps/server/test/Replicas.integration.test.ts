import { assert, describe, it } from "@effect/vitest"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import * as TcpProxy from "@valetkey/testing/TcpProxy"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Deferred, Effect, Exit, Fiber, Redacted, type Scope } from "effect"
import * as Replica from "./support/Replica.ts"

const described = (provider: FakeProvider.FakeProvider) => ({ resource: provider.resource, scopes: ["read"] })

/** Deposits of credentials that the provider issued, each with a refresh token of its own. */
const depositOf = (provider: FakeProvider.FakeProvider) =>
  Effect.promise(async () => {
    const response = await fetch(`${provider.issuer}/.well-known/oauth-authorization-server`)
    const { token_endpoint: tokenEndpoint } = await response.json() as { readonly token_endpoint: string }
    return () => ({
      tokenEndpoint,
      clientId: "fake-client",
      refreshToken: Redacted.value(provider.grant({ clientId: "fake-client" }).refreshToken)
    })
  })

/** Makes a server process one of the version after this, which migrates the database a step further. */
const nextVersion = { NODE_OPTIONS: `--import ${new URL("./support/nextVersion.ts", import.meta.url).href}` }

const installed = Effect.gen(function*() {
  const database = yield* EmbeddedPostgres.database
  const provider = yield* FakeProvider.make()
  const publicPort = yield* Replica.freePort
  const databasePort = new URL(Replica.text(database.url))
  const proxy = yield* TcpProxy.make({ host: databasePort.hostname, port: Number(databasePort.port || 5432) })
  const deployment = Replica.deployment({
    databaseUrl: proxy.through(Replica.text(database.url)),
    publicPort,
    allowEgress: new URL(provider.origin).host
  })
  const start = (env: Replica.Env = {}) => Replica.start({ ...deployment.env, ...env }, deployment.token)
  /** Does what needs a database that nobody is connected to. */
  const aside = <A>(work: Effect.Effect<A, never, Scope.Scope>) =>
    Effect.gen(function*() {
      proxy.setMode("reset")
      proxy.resetAll()
      const done = yield* work
      proxy.setMode("forward")
      return done
    })
  return { start, provider, publicPort, proxy, deployment, database, aside }
})

describe("replicas on one Postgres", () => {
  it.live("S2.4 S2.5 S2.6 S1.7 FLOW-26 start on one, callback on a second, status from a third", () =>
    Effect.scoped(Effect.gen(function*() {
      const { provider, publicPort, start } = yield* installed
      const [a, b, c] = yield* Effect.all([
        start(),
        start({ VALETKEY_PUBLIC_LISTEN: `127.0.0.1:${publicPort}` }),
        start()
      ], { concurrency: 3 })
      assert.strictEqual((yield* a.call("PUT", "/v1/servers/fake", described(provider))).status, 201)
      const started = yield* a.call("POST", "/v1/flows", { server: "fake" })
      assert.strictEqual(started.status, 201)
      const { connectUrl, flowId } = started.body
      assert.notProperty(started.body, "authorizationUrl")
      const waiting = yield* Effect.forkChild(c.call("GET", `/v1/flows/${flowId}?wait=30`))

      const page = yield* UserAgent.make().authorize(String(connectUrl))
      assert.strictEqual(page.status, 200)
      assert.strictEqual(page.url.origin, `http://127.0.0.1:${publicPort}`)
      assert.include(page.body, "Connected")

      const settled = yield* Fiber.join(waiting)
      assert.strictEqual(settled.body["status"], "completed")
      assert.deepInclude(settled.body["connection"], { status: "active", scopes: ["read"] })
      for (const replica of [a, b, c]) {
        const token = yield* replica.call("POST", "/v1/connections/fake/token", {})
        assert.strictEqual(token.status, 200)
        assert.isTrue(provider.isActive(String(token.body["accessToken"])))
        assert.strictEqual(token.headers.get("cache-control"), "no-store")
      }
      assert.strictEqual(provider.requests("token").length, 1)
    })))

  it.live("LIFE-08 answers 503 with a stable code while the database is away, and works again when it is back", () =>
    Effect.scoped(Effect.gen(function*() {
      const { proxy, start } = yield* installed
      const replica = yield* start()
      assert.strictEqual((yield* replica.call("GET", "/readyz")).status, 200)
      proxy.setMode("reset")
      proxy.resetAll()
      const refused = yield* replica.call("GET", "/v1/connections")
      assert.strictEqual(refused.status, 503)
      assert.strictEqual(refused.body["code"], "store_unavailable")
      assert.isNotNull(refused.headers.get("retry-after"))
      const away = yield* replica.call("GET", "/readyz")
      assert.strictEqual(away.status, 503)
      assert.deepInclude(away.body["checks"], { name: "store", ok: false, reason: "database_unreachable" })
      assert.strictEqual((yield* replica.call("GET", "/livez")).status, 200)
      proxy.setMode("forward")
      yield* Effect.repeat(replica.call("GET", "/readyz"), { until: ({ status }) => status === 200 })
      assert.strictEqual((yield* replica.call("GET", "/v1/connections")).status, 200)
    })))

  it.live("DB-07 goes on with a standby that missed the last commits, each with their own and no token sent thrice", () =>
    Effect.scoped(Effect.gen(function*() {
      const { aside, database, deployment, provider, start } = yield* installed
      const replica = yield* start()
      const deposit = yield* depositOf(provider)
      const of = Effect.fnUntraced(function*(tenant: string, name: string) {
        const call = Replica.caller(replica.api, Replica.tokenOf(deployment, { sub: "alice", tenant }))
        const path = `/v1/connections/${name}`
        const credentials = deposit()
        const family = provider.families.at(-1)!
        assert.strictEqual((yield* call("PUT", path, credentials)).status, 201)
        const ask = (rejectedToken?: string) =>
          call("POST", `${path}/token`, rejectedToken === undefined ? {} : { rejectedToken })
        return {
          family,
          deposit: Effect.suspend(() => call("PUT", path, { ...deposit(), replace: true })),
          connection: Effect.map(call("GET", path), ({ body }) => body),
          ask,
          /** What a crowd is answered whose resource refuses its token. */
          crowd: (rejected: string) =>
            Effect.map(
              Effect.all(Array.from({ length: 8 }, () => ask(rejected)), { concurrency: "unbounded" }),
              (answers) => [
                ...new Set(
                  answers.map(({ body, status }) => `${status} ${String(body["accessToken"] ?? body["code"])}`)
                )
              ]
            )
        }
      })
      const forgiven = yield* of("acme", "forgiven")
      const refused = yield* of("acme", "refused")
      const neighbour = yield* of("beta", "forgiven")
      const all = [forgiven, refused, neighbour]
      for (const { ask } of all) assert.strictEqual((yield* ask()).body["generation"], 2)
      const standby = yield* aside(EmbeddedPostgres.copyOf(database))
      for (const { ask, family } of all) {
        assert.strictEqual((yield* ask(family.accessTokens[1])).body["generation"], 3)
      }
      const lost = yield* of("gamma", "forgiven")
      assert.strictEqual((yield* lost.ask()).status, 200)
      yield* aside(Effect.gen(function*() {
        const admin = yield* EmbeddedPostgres.server
        const rename = (from: string, to: string) =>
          EmbeddedPostgres.statement(admin, `ALTER DATABASE ${from} RENAME TO ${to}`)
        yield* rename(database.name, `${database.name}_gone`)
        yield* rename(standby.name, database.name)
        yield* rename(`${database.name}_gone`, standby.name)
      }))
      yield* Effect.repeat(replica.call("GET", "/readyz"), { until: ({ status }) => status === 200 })

      // The token of a lost generation is answered with what is there, which the provider may take or not.
      for (const { crowd, family } of all) {
        assert.deepStrictEqual(yield* crowd(family.accessTokens[2]!), [`200 ${family.accessTokens[1]}`])
      }
      assert.strictEqual((yield* lost.ask()).status, 404)
      provider.behaviour.rotation = { graceSeconds: 60 }
      assert.deepStrictEqual(yield* forgiven.crowd(forgiven.family.accessTokens[1]!), [
        `200 ${forgiven.family.accessTokens[3]}`
      ])
      assert.deepInclude(yield* forgiven.connection, { status: "active", generation: 3 })
      provider.behaviour.rotation = "rotate-revoke-family"
      for (const _ of ["at first", "and for good"]) {
        assert.deepStrictEqual(yield* refused.crowd(refused.family.accessTokens[1]!), ["409 reauthorization_required"])
      }
      assert.deepInclude(yield* refused.connection, { status: "needs_reauth", reason: "refresh_token_rejected" })
      assert.strictEqual((yield* forgiven.ask()).body["accessToken"], forgiven.family.accessTokens[3])
      assert.strictEqual((yield* neighbour.ask()).body["accessToken"], neighbour.family.accessTokens[1])
      assert.deepStrictEqual(
        [...all, lost].map(({ family }) => family.refreshTokens.map((token) => provider.tokenCount(token))),
        [[1, 2, 0, 0], [1, 2, 0], [1, 1, 0], [1, 0]]
      )
      for (const { ask, deposit } of [refused, lost]) {
        yield* deposit
        assert.strictEqual((yield* ask()).status, 200)
      }
    })))

  it.live("CR-11 I19 on SIGTERM finishes a hundred calls that wait for refreshes, takes no new ones and exits with 0", () =>
    Effect.scoped(Effect.gen(function*() {
      const { provider, start } = yield* installed
      const replica = yield* start()
      const other = yield* start()
      const names = Array.from({ length: 10 }, (_, index) => `fake-${index}`)
      const deposit = yield* depositOf(provider)
      for (const name of names) {
        assert.strictEqual((yield* replica.call("PUT", `/v1/connections/${name}`, deposit())).status, 201)
      }
      const gate = yield* Deferred.make<void>()
      provider.always("token", Reply.before(Deferred.await(gate)))
      const calls = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 100 }, (_, index) => names[index % names.length]),
          (name) => replica.call("POST", `/v1/connections/${name}/token`, {}),
          { concurrency: "unbounded" }
        )
      )
      yield* provider.arrived("token", names.length)
      // Every caller is in before the signal: a status that comes after them on the same listener says so.
      yield* Effect.repeat(replica.call("GET", "/livez"), { times: 20 })
      replica.signal("SIGTERM")
      yield* Effect.repeat(Effect.exit(replica.tryLive), { until: Exit.isFailure })
      yield* Deferred.succeed(gate, undefined)
      for (const answer of yield* Fiber.join(calls)) {
        assert.strictEqual(answer.status, 200)
        assert.strictEqual(answer.body["generation"], 2)
      }
      const ended = yield* replica.ended
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.strictEqual(provider.requests("token").length, names.length)
      for (const name of names) {
        assert.strictEqual((yield* other.call("POST", `/v1/connections/${name}/token`, {})).body["generation"], 2)
      }
    })))

  it.live("CR-11 lets long polls go at once when it drains", () =>
    Effect.scoped(Effect.gen(function*() {
      const { provider, start } = yield* installed
      const replica = yield* start()
      yield* replica.call("PUT", "/v1/servers/fake", described(provider))
      const open = yield* replica.call("POST", "/v1/flows", { server: "fake" })
      const polling = yield* Effect.forkChild(replica.call("GET", `/v1/flows/${open.body["flowId"]}?wait=60`))
      yield* Effect.repeat(replica.call("GET", "/livez"), { times: 5 })
      replica.signal("SIGTERM")
      const left = yield* Fiber.join(polling)
      assert.strictEqual(left.status, 503)
      assert.strictEqual(left.headers.get("retry-after"), "1")
      assert.strictEqual((yield* replica.ended).code, 0)
    })))

  it.live("I22 DB-14 a version and the next one serve together, and the older stays ready while the newer migrates", () =>
    Effect.scoped(Effect.gen(function*() {
      const { provider, start } = yield* installed
      const older = yield* start()
      yield* older.call("PUT", "/v1/servers/fake", described(provider))
      const deposit = yield* depositOf(provider)
      const wrong: Array<unknown> = []
      const told = (answer: Effect.Effect<Replica.Answer>) =>
        Effect.map(answer, ({ body, status }) => {
          if (status >= 300) wrong.push({ status, ...body })
          return body
        })
      const tokens = Effect.fnUntraced(function*(name: string, one: Replica.Replica, other: Replica.Replica) {
        yield* told(one.call("PUT", `/v1/connections/${name}`, deposit()))
        const first = yield* told(other.call("POST", `/v1/connections/${name}/token`, {}))
        const rejected = { rejectedToken: first["accessToken"] }
        const second = yield* told(one.call("POST", `/v1/connections/${name}/token`, rejected))
        const same = yield* told(other.call("POST", `/v1/connections/${name}/token`, rejected))
        if (second["accessToken"] === first["accessToken"] || same["accessToken"] !== second["accessToken"]) {
          wrong.push("another token")
        }
        yield* told(other.call("DELETE", `/v1/connections/${name}`))
      })
      const flow = Effect.fnUntraced(function*(one: Replica.Replica, other: Replica.Replica) {
        const { flowId } = yield* told(one.call("POST", "/v1/flows", { server: "fake" }))
        yield* told(other.call("GET", `/v1/flows/${String(flowId)}`))
        yield* told(other.call("DELETE", `/v1/flows/${String(flowId)}`))
      })
      let rounds = 0
      const load = (one: Replica.Replica, other: Replica.Replica) =>
        Effect.all([
          told(one.call("GET", "/readyz")),
          flow(one, other),
          tokens("a", one, other),
          tokens("b", other, one)
        ], { concurrency: "unbounded", discard: true }).pipe(Effect.andThen(Effect.sync(() => rounds++)))

      const starting = yield* Effect.forkChild(start(nextVersion))
      while (starting.pollUnsafe() === undefined) yield* load(older, older)
      const newer = yield* Fiber.join(starting)
      assert.isAtLeast(rounds, 1)
      yield* load(older, newer)
      yield* load(newer, older)
      assert.deepStrictEqual(wrong, [])
    })))

  it.live("API-17 without a key everything that needs no secret works and everything that does fails closed", () =>
    Effect.scoped(Effect.gen(function*() {
      const { provider, start } = yield* installed
      const whole = yield* start()
      const deposit = yield* depositOf(provider)
      yield* whole.call("PUT", "/v1/connections/fake", deposit())
      assert.strictEqual((yield* whole.call("POST", "/v1/connections/fake/token", {})).status, 200)

      const keyless = yield* start({ VALETKEY_KEYS: undefined })
      assert.strictEqual((yield* keyless.call("PUT", "/v1/servers/other", described(provider))).status, 201)
      for (
        const refused of [
          yield* keyless.call("POST", "/v1/flows", { server: "other" }),
          yield* keyless.call("POST", "/v1/connections/fake/token", {}),
          yield* keyless.call("PUT", "/v1/connections/other", deposit())
        ]
      ) {
        assert.strictEqual(refused.status, 503)
        assert.strictEqual(refused.body["code"], "encryption_key_missing")
      }
      assert.lengthOf((yield* keyless.call("GET", "/v1/connections")).body["connections"] as Array<unknown>, 1)
      assert.strictEqual((yield* keyless.call("GET", "/livez")).status, 200)
      const ready = yield* keyless.call("GET", "/readyz")
      assert.deepInclude(ready.body["checks"], { name: "key", ok: true, reason: "degraded: encryption_key_missing" })
      assert.strictEqual((yield* keyless.call("DELETE", "/v1/connections/fake")).status, 204)
    })))

  it.live("S2x.7 without a public URL a start fails with its code, not the callback", () =>
    Effect.scoped(Effect.gen(function*() {
      const { provider, start } = yield* installed
      const replica = yield* start({ VALETKEY_PUBLIC_URL: undefined })
      yield* replica.call("PUT", "/v1/servers/fake", described(provider))
      const started = yield* replica.call("POST", "/v1/flows", { server: "fake" })
      assert.strictEqual(started.status, 422)
      assert.strictEqual(started.body["code"], "public_url_missing")
      assert.strictEqual(
        (yield* replica.call("POST", "/v1/flows", { server: "fake", transport: "loopback" })).body["code"],
        "transport_unavailable"
      )
    })))

  it.live("serves probes on a port of their own and nothing else there", () =>
    Effect.scoped(Effect.gen(function*() {
      const { start } = yield* installed
      const replica = yield* start({ VALETKEY_ADMIN_LISTEN: "127.0.0.1:0" })
      const status = (path: string) =>
        Effect.promise(async () => {
          const response = await fetch(`${replica.ready.admin}${path}`)
          await response.arrayBuffer()
          return response.status
        })
      assert.deepStrictEqual(
        yield* Effect.all([status("/livez"), status("/readyz"), status("/v1/connections"), status("/callback/x")]),
        [200, 200, 404, 404]
      )
    })))
})
