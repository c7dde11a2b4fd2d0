import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import type * as FakeProvider from "@valetkey/testing/FakeProvider"
import { Effect, Redacted } from "effect"
import { consented, installed } from "./support/People.ts"

/** The authorization request of one server made anew for another: what an authorization server of an attacker's redirects to. */
const lured = (
  provider: FakeProvider.FakeProvider,
  from: URL,
  parameters: Readonly<Record<string, string>>
): URL => {
  const url = new URL(`${provider.issuer}/authorize`)
  for (const [name, value] of from.searchParams) url.searchParams.set(name, value)
  url.searchParams.set("resource", provider.resource)
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
  return url
}

const redirectUriOf = (url: URL) => url.searchParams.get("redirect_uri") ?? ""

/** Whether anything of a request is or encodes the text. */
const carries = (text: string) => ({ body, headers, url }: FakeProvider.LoggedRequest) => {
  const basic = Buffer.from(/^Basic (.+)$/i.exec(String(headers["authorization"] ?? ""))?.[1] ?? "", "base64")
    .toString()
  return [body, url.href, basic, JSON.stringify(headers)].some((part) => part.includes(text))
}

describe("an authorization server of an attacker's", () => {
  it.live("BIND-06 BIND-07 gets no code of another one's: each server has a redirect URI of its own, and iss tells the rest", () =>
    Effect.scoped(Effect.gen(function*() {
      const { exchanges, provider, publicOrigin, rival, rows, victim } = yield* installed
      const shared = { clientId: "app", authMethod: "none", redirectUri: `${publicOrigin}/callback/shared` }
      for (const [server, { resource }] of [["calendar", provider], ["evil", rival]] as const) {
        const put = yield* victim.call("PUT", `/v1/servers/${server}`, { resource, scopes: ["read"], client: shared })
        assert.strictEqual(put.status, 201)
      }
      const calendar = yield* victim.start({ server: "calendar" })
      const honest = yield* victim.browser.leave(calendar.connectUrl)
      provider.clients.set("app", { clientId: "app", secrets: [], redirectUris: [redirectUriOf(honest)] })
      const evil = yield* victim.start({ server: "evil" })
      const luring = yield* victim.browser.leave(evil.connectUrl)
      // One client for both, registered with one URI: no flow uses it, and each uses another.
      const uris = [redirectUriOf(honest), redirectUriOf(luring), shared.redirectUri]
      assert.strictEqual(new Set(uris).size, 3)
      for (const uri of uris) assert.strictEqual(new URL(uri).origin, publicOrigin)
      const before = yield* rows

      // To the attacker's own path: the honest server knows it not.
      const refused = yield* victim.browser.request(lured(provider, luring, {}))
      assert.deepStrictEqual([refused.status, refused.headers.get("location")], [400, null])
      // To the honest server's path, or to a shared one, with the attacker's flow: no flow of that path.
      const stray = yield* consented(
        victim.browser,
        lured(provider, luring, { redirect_uri: redirectUriOf(honest) })
      )
      const strays = [stray, new URL(shared.redirectUri + stray.search)]
      for (const url of strays) assert.strictEqual((yield* victim.browser.request(url)).status, 400)
      assert.deepStrictEqual(yield* rows, before)

      // Where the honest server takes any redirect URI: its name in the answer is not the one that the flow began with.
      provider.clients.set("app", { clientId: "app", secrets: [] })
      const leaked = yield* consented(victim.browser, lured(provider, luring, {}))
      assert.strictEqual(leaked.searchParams.get("iss"), provider.issuer)
      assert.strictEqual((yield* victim.browser.request(leaked)).status, 303)
      assert.deepInclude((yield* evil.settled)["failure"], { code: "issuer_mismatch" })
      assert.deepStrictEqual([exchanges(), rival.requests("token").length], [0, 0])

      assert.strictEqual((yield* victim.browser.request(yield* consented(victim.browser, honest))).status, 303)
      assert.strictEqual((yield* calendar.settled)["status"], "completed")
      assert.deepStrictEqual([exchanges(), rival.requests("token").length], [1, 0])
    })))

  it.live("BIND-08 never sees a client secret that was configured for other endpoints, whoever edits what", () =>
    Effect.scoped(Effect.gen(function*() {
      const { exchanges, person, provider, rival } = yield* installed
      const secret = Redacted.value(Canary.make("client_secret"))
      const client = { clientId: "operators-app", authMethod: "client_secret_post" }
      provider.clients.set("operators-app", { clientId: "operators-app", secrets: [secret] })
      rival.clients.set("operators-app", { clientId: "operators-app", secrets: [] })
      const operator = person("operator")
      const described = { resource: provider.resource, scopes: ["read"], client: { ...client, clientSecret: secret } }
      assert.strictEqual((yield* operator.call("PUT", "/v1/servers/app", described)).status, 201)
      const connected = yield* operator.start({ server: "app" })
      yield* operator.browser.request(
        yield* consented(operator.browser, yield* operator.browser.leave(connected.connectUrl))
      )
      assert.strictEqual((yield* connected.settled)["status"], "completed")
      const member = person("member", "acme", "flows:write connections:read connections:write tokens:read")
      const open = yield* member.start({ server: "app" })
      const ownUrl = yield* member.browser.leave(open.connectUrl)

      const evil = {
        resource: rival.resource,
        scopes: ["read"],
        endpoints: { authorization: `${rival.issuer}/authorize`, token: `${rival.issuer}/token` },
        issuer: rival.issuer
      }
      // Who may not describe servers changes none; who may cannot keep a secret while changing where it goes.
      const forbidden = yield* member.call("PUT", "/v1/servers/app", {
        ...evil,
        client: { ...client, authMethod: "none" }
      })
      assert.strictEqual(forbidden.status, 403)
      const elsewhere = person("mallory", "rival")
      for (const { call } of [operator, elsewhere]) {
        const kept = yield* call("PUT", "/v1/servers/app", { ...evil, client })
        assert.deepStrictEqual([kept.status, kept.body["code"]], [400, "invalid_request"])
      }
      // The same name in another tenant, and the same server with other endpoints, are clients without the secret.
      for (const owner of [elsewhere, operator]) {
        const put = yield* owner.call("PUT", "/v1/servers/app", { ...evil, client: { ...client, authMethod: "none" } })
        assert.isTrue(put.status === 201 || put.status === 200, JSON.stringify(put.body))
        const flow = yield* owner.start({ server: "app", reauthorize: true })
        const url = yield* owner.browser.leave(flow.connectUrl)
        assert.strictEqual(url.origin, rival.origin)
        const reached = rival.requests("token").length
        yield* owner.browser.request(yield* consented(owner.browser, url))
        yield* flow.settled
        assert.strictEqual(rival.requests("token").length, reached + 1)
      }
      assert.isAbove(rival.log.length, 3)
      assert.deepStrictEqual(rival.log.filter(carries(secret)), [])

      // Who began before goes where it began, and the secret with it.
      const posted = exchanges()
      yield* member.browser.request(yield* consented(member.browser, ownUrl))
      assert.strictEqual((yield* open.settled)["status"], "completed")
      assert.strictEqual(exchanges(), posted + 1)
      assert.isTrue(carries(secret)(provider.requests("token").at(-1)!))
      assert.deepStrictEqual(rival.log.filter(carries(secret)), [])
    })))

  it.live("BIND-08 shares no registration: another server, tenant or authorization server has a client of its own", () =>
    Effect.scoped(Effect.gen(function*() {
      const { person, provider, rival } = yield* installed
      const clients = new Map<string, string>()
      const clientOf = Effect.fnUntraced(function*(sub: string, tenant: string, server: string) {
        const { browser, start } = person(sub, tenant)
        const { connectUrl } = yield* start({ server })
        const url = yield* browser.leave(connectUrl)
        return `${url.origin} ${url.searchParams.get("client_id")}`
      })
      for (const tenant of ["acme", "rival"]) {
        for (const [server, { resource }] of [["one", provider], ["two", provider], ["three", rival]] as const) {
          yield* person("operator", tenant).call("PUT", `/v1/servers/${server}`, { resource, scopes: ["read"] })
          clients.set(`${tenant}/${server}`, yield* clientOf("ada", tenant, server))
        }
      }
      assert.strictEqual(new Set(clients.values()).size, 6)
      // Within all of these there is one owner: the tenant that described the server.
      assert.strictEqual(yield* clientOf("grace", "acme", "one"), clients.get("acme/one"))
    })))
})
