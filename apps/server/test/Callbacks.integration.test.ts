import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as TcpProxy from "@valetkey/testing/TcpProxy"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect } from "effect"
import { randomBytes } from "node:crypto"
import * as Replica from "./support/Replica.ts"

const newKey = (id: number): string => {
  const key = randomBytes(32).toString("base64")
  Canary.register("root_key", key)
  return `${id}:${key}`
}

const installed = Effect.gen(function*() {
  const database = yield* EmbeddedPostgres.database
  const provider = yield* FakeProvider.make()
  const { hostname, port } = new URL(Replica.text(database.url))
  const proxy = yield* TcpProxy.make({ host: hostname, port: Number(port || 5432) })
  const publicPort = yield* Replica.freePort
  const deployment = Replica.deployment({
    databaseUrl: proxy.through(Replica.text(database.url)),
    publicPort,
    allowEgress: new URL(provider.origin).host
  })
  const replica = (env: Replica.Env = {}) => Replica.start({ ...deployment.env, ...env }, deployment.token)
  return { provider, proxy, replica, publicPort }
})

/** A flow whose person is on the way back, with what delivers the response to any replica. */
const returning = Effect.fnUntraced(
  function*(replica: Replica.Replica, provider: FakeProvider.FakeProvider, server: string) {
    yield* replica.call("PUT", `/v1/servers/${server}`, { resource: provider.resource, scopes: ["read"] })
    const { body } = yield* replica.call("POST", "/v1/flows", { server })
    const browser = UserAgent.make()
    const authorizationUrl = yield* browser.leave(String(body["connectUrl"]))
    const callback = yield* browser.callbackUrl(
      authorizationUrl,
      authorizationUrl.searchParams.get("redirect_uri") ?? ""
    )
    const at = (where: Replica.Replica) => browser.request(new URL(callback.pathname + callback.search, where.api))
    const forged = (where: Replica.Replica) => {
      const url = new URL(callback.pathname + callback.search, where.api)
      const state = Buffer.from(url.searchParams.get("state") ?? "", "base64url")
      url.searchParams.set("state", Buffer.concat([randomBytes(32), state.subarray(32)]).toString("base64url"))
      return browser.request(url)
    }
    const status = (wait: number) =>
      Effect.map(replica.call("GET", `/v1/flows/${String(body["flowId"])}?wait=${wait}`), ({ body }) => body["status"])
    return { at, forged, status }
  }
)

describe("a callback on its way", () => {
  it.live("CRY-15 completes though the root key that its flow began under is rotated out meanwhile, and even removed", () =>
    Effect.scoped(Effect.gen(function*() {
      const { provider, publicPort, replica } = yield* installed
      const [one, two] = [newKey(1), newKey(2)]
      const a = yield* replica({ VALETKEY_KEYS: `${one},${two}`, VALETKEY_LISTEN: `127.0.0.1:${publicPort}` })
      const [here, there] = [yield* returning(a, provider, "here"), yield* returning(a, provider, "there")]
      assert.strictEqual((yield* a.call("POST", "/v1/keys/2/promote")).status, 204)
      yield* Effect.repeat(a.call("POST", "/v1/keys/rewrap"), { until: ({ body }) => body["done"] === true })
      // Nobody sealed with the key for ten seconds: so long is waited for a flow that nobody finishes.
      assert.strictEqual(yield* here.status(10), "pending")
      yield* Effect.repeat(a.call("POST", "/v1/keys/1/retire"), { until: ({ status }) => status === 204 })

      assert.strictEqual((yield* here.forged(a)).status, 400)
      assert.strictEqual((yield* here.at(a)).status, 303)
      assert.strictEqual(yield* here.status(30), "completed")
      const b = yield* replica({ VALETKEY_KEYS: two })
      assert.strictEqual((yield* there.forged(b)).status, 400)
      assert.strictEqual((yield* there.at(b)).status, 303)
      assert.strictEqual(yield* there.status(30), "completed")
      assert.strictEqual(provider.requests("token").length, 2)
    })))

  it.live("S2x.3 is not used up by a replica without a key, nor while the database is away: the same one completes later", () =>
    Effect.scoped(Effect.gen(function*() {
      const { provider, proxy, publicPort, replica } = yield* installed
      const whole = yield* replica({ VALETKEY_LISTEN: `127.0.0.1:${publicPort}` })
      const keyless = yield* replica({ VALETKEY_KEYS: undefined })
      const flow = yield* returning(whole, provider, "fake")
      const refused = yield* flow.at(keyless)
      assert.strictEqual(refused.status, 503)
      assert.include(refused.body, "Reload this page")
      assert.strictEqual(yield* flow.status(0), "pending")

      proxy.setMode("reset")
      proxy.resetAll()
      for (const _ of [1, 2, 3]) {
        const away = yield* flow.at(whole)
        assert.deepStrictEqual([away.status, away.headers.get("retry-after")], [503, "2"])
      }
      proxy.setMode("forward")
      const back = yield* Effect.repeat(flow.at(whole), { until: ({ status }) => status !== 503 })
      assert.strictEqual(back.status, 303)
      assert.strictEqual(yield* flow.status(30), "completed")
      assert.strictEqual(provider.requests("token").length, 1)
    })))
})
