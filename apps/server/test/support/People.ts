import { assert } from "@effect/vitest"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect } from "effect"
import * as Replica from "./Replica.ts"

/** Where the embedding application of these tests waits for its users. */
export const appUrl = "https://app.example/connected"

/** A server on Postgres, its provider, and its callers, each with a browser of their own. */
export const installed = Effect.gen(function*() {
  const database = yield* EmbeddedPostgres.database
  const provider = yield* FakeProvider.make()
  const rival = yield* FakeProvider.make()
  const publicPort = yield* Replica.freePort
  const deployment = Replica.deployment({
    databaseUrl: Replica.text(database.url),
    publicPort,
    allowEgress: `${new URL(provider.origin).host},${new URL(rival.origin).host}`
  })
  const env = { ...deployment.env, VALETKEY_LISTEN: `127.0.0.1:${publicPort}`, VALETKEY_RETURN_URLS: appUrl }
  const replica = yield* Replica.start(env, deployment.token)
  const person = (sub: string, tenant = "acme", scope?: string) => {
    const claims = { sub, tenant, ...(scope === undefined ? {} : { scope }) }
    const call = Replica.caller(replica.api, Replica.tokenOf(deployment, claims))
    const browser = UserAgent.make({ login: sub })
    const start = Effect.fnUntraced(function*(body: object = { server: "fake" }) {
      const { body: started, status } = yield* call("POST", "/v1/flows", body)
      assert.strictEqual(status, 201, JSON.stringify(started))
      return {
        flowId: String(started["flowId"]),
        connectUrl: String(started["connectUrl"]),
        authorizationUrl: String(started["authorizationUrl"]),
        compareCode: String(started["compareCode"]),
        settled: Effect.map(call("GET", `/v1/flows/${String(started["flowId"])}?wait=10`), ({ body }) => body)
      }
    })
    return {
      call,
      browser,
      start,
      describe: (server: string) =>
        call("PUT", `/v1/servers/${server}`, { resource: provider.resource, scopes: ["read"] }),
      connection: Effect.map(call("GET", "/v1/connections/fake"), ({ status }) => status)
    }
  }
  const mallory = person("mallory")
  yield* mallory.describe("fake")
  return {
    provider,
    /** Another authorization server with its resource, which the attacker runs. */
    rival,
    /** How browsers know the server. */
    publicOrigin: `http://127.0.0.1:${publicPort}`,
    person,
    mallory,
    victim: person("victim"),
    /** The flows and connections as the database holds them. */
    rows: Effect.map(
      EmbeddedPostgres.rowsOf(database),
      (text) => text.split("\n").filter((line) => /^public\.(flows|connections)\t/.test(line)).sort()
    ),
    dump: EmbeddedPostgres.rowsOf(database),
    /** Where a replica with another public URL listens. */
    moved: Effect.gen(function*() {
      const port = yield* Replica.freePort
      const origin = `http://127.0.0.1:${port}`
      yield* Replica.start({ ...env, VALETKEY_LISTEN: `127.0.0.1:${port}`, VALETKEY_PUBLIC_URL: origin }, "")
      return origin
    }),
    exchanges: () => provider.requests("token").length
  }
})

/** The callback that a browser is sent to after its person has consented, without following it. */
export const consented = (browser: UserAgent.UserAgent, authorizationUrl: URL | string) =>
  browser.callbackUrl(authorizationUrl, new URL(authorizationUrl).searchParams.get("redirect_uri") ?? "")
