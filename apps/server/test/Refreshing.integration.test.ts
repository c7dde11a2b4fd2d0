import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect, Redacted } from "effect"
import { generateKeyPairSync } from "node:crypto"
import * as Replica from "./support/Replica.ts"

const clientId = "notes-client"

/** Two replicas on one Postgres, and a person who consented to clients that authenticate with a secret. */
const connected = Effect.fnUntraced(function*(...servers: ReadonlyArray<string>) {
  const database = yield* EmbeddedPostgres.database
  const publicPort = yield* Replica.freePort
  const secrets = [Canary.makeText("client_secret")]
  const provider = yield* FakeProvider.make({ clients: [{ clientId, secrets }] })
  const { env, token } = Replica.deployment({
    databaseUrl: Replica.text(database.url),
    publicPort,
    allowEgress: new URL(provider.origin).host
  })
  const [one, other] = yield* Effect.all([
    Replica.start({ ...env, VALETKEY_PUBLIC_LISTEN: `127.0.0.1:${publicPort}` }, token),
    Replica.start(env, token)
  ], { concurrency: 2 })
  const describeServer = (server: string, clientSecret: string, changes: Record<string, unknown> = {}) =>
    one.call("PUT", `/v1/servers/${server}`, {
      resource: provider.resource,
      scopes: ["read"],
      client: { clientId, authMethod: "client_secret_basic", clientSecret },
      ...changes
    })
  for (const server of servers) {
    assert.strictEqual((yield* describeServer(server, secrets[0]!)).status, 201)
    const started = yield* one.call("POST", "/v1/flows", { server })
    yield* UserAgent.make().authorize(String(started.body["connectUrl"]))
    const settled = yield* one.call("GET", `/v1/flows/${String(started.body["flowId"])}?wait=30`)
    assert.strictEqual(settled.body["status"], "completed")
  }
  const ask = (replica: Replica.Replica, server: string, rejectedToken?: unknown) =>
    Effect.map(
      replica.call(
        "POST",
        `/v1/connections/${server}/token`,
        rejectedToken === undefined ? undefined : { rejectedToken }
      ),
      ({ body, status }) => {
        assert.strictEqual(status, 200, String(body["code"]))
        return body
      }
    )
  const refreshes = () =>
    provider.requests("token").filter(({ body }) => body.includes("grant_type=refresh_token"))
      .map(({ body, headers }) => ({ form: new URLSearchParams(body), basic: basicOf(headers) }))
  return { provider, one, other, secrets, describeServer, ask, refreshes }
})

const basicOf = (headers: { readonly authorization?: string | undefined }): string | undefined => {
  const encoded = headers.authorization?.replace(/^Basic /, "")
  return encoded === undefined
    ? undefined
    : decodeURIComponent(Buffer.from(encoded, "base64").toString().split(":")[1] ?? "")
}

describe("a refresh", () => {
  it.live("REF-26 is seen by a replica that has handed out the token before it", () =>
    Effect.scoped(Effect.gen(function*() {
      const { ask, one, other, refreshes } = yield* connected("notes")
      const first = yield* ask(one, "notes")
      for (const replica of [other, other, one]) {
        assert.strictEqual((yield* ask(replica, "notes"))["accessToken"], first["accessToken"])
      }
      const second = yield* ask(one, "notes", first["accessToken"])
      assert.notStrictEqual(second["accessToken"], first["accessToken"])
      for (const rejected of [undefined, first["accessToken"], undefined]) {
        assert.deepStrictEqual(yield* ask(other, "notes", rejected), second)
      }
      assert.lengthOf(refreshes(), 1)
    })))

  it.live("REF-19 REF-20 names the resource and no scope, and proves the client by the secret that it has today", () =>
    Effect.scoped(Effect.gen(function*() {
      const servers = ["a", "b", "c", "d"] as const
      const { ask, describeServer, one, other, provider, refreshes, secrets } = yield* connected(...servers)
      const old = secrets[0]!
      const fresh = Canary.makeText("client_secret")
      const rejected = (replica: Replica.Replica, server: string) =>
        Effect.flatMap(ask(replica, server), (token) => ask(replica, server, token["accessToken"]))

      yield* rejected(one, "a")
      // The provider takes both for a while, and the operator changes over in that time.
      provider.clients.set(clientId, { clientId, secrets: [fresh, old] })
      yield* rejected(other, "b")
      for (const server of servers) assert.strictEqual((yield* describeServer(server, fresh)).status, 200)
      yield* rejected(other, "c")
      provider.clients.set(clientId, { clientId, secrets: [fresh] })
      yield* rejected(one, "d")
      assert.deepStrictEqual(refreshes().map(({ basic }) => basic), [old, old, fresh, fresh])
      for (const { form } of refreshes()) {
        assert.strictEqual(form.get("resource"), provider.resource)
        assert.isFalse(form.has("scope"))
      }
    })))

  it.live("shows the secret of a description to the token endpoint that it is meant for, and to no other", () =>
    Effect.scoped(Effect.gen(function*() {
      const servers = ["a", "b", "c", "d"]
      const { ask, describeServer, one, refreshes, secrets } = yield* connected(...servers)
      const elsewhere = Canary.makeText("client_secret")
      const others = [
        { issuer: "https://other.example" },
        { resource: "https://other.example/mcp" },
        { endpoints: { authorization: "https://other.example/authorize", token: "https://other.example/token" } },
        { client: { clientId: "other", authMethod: "client_secret_basic", clientSecret: elsewhere } }
      ]
      for (const [index, changes] of others.entries()) {
        const server = servers[index]!
        assert.strictEqual((yield* describeServer(server, elsewhere, changes)).status, 200)
        yield* ask(one, server, (yield* ask(one, server))["accessToken"])
      }
      assert.deepStrictEqual(refreshes().map(({ basic }) => basic), others.map(() => secrets[0]))
    })))

  it.live("sends no signing key and signs with no secret when the description changes between the two", () =>
    Effect.scoped(Effect.gen(function*() {
      const { describeServer, one, provider, refreshes, secrets } = yield* connected("made", "brought", "sent")
      const old = secrets[0]!
      const signer = "signing-client"
      provider.clients.set(signer, { clientId: signer, secrets: [] })
      const [consented, replaced] = [elliptic(), elliptic()]
      const deposit = (server: string, over: Record<string, unknown>, client = clientId) =>
        one.call("PUT", `/v1/connections/${server}`, {
          refreshToken: Redacted.value(provider.grant({ clientId: client }).refreshToken),
          clientId: client,
          resource: provider.resource,
          ...over
        })
      const token = (server: string, body: unknown) => one.call("POST", `/v1/connections/${server}/token`, body)
      const deposited = ["posted", "signed"]
      const deposits = [
        yield* deposit("posted", { authMethod: "client_secret_post", clientSecret: old }),
        yield* deposit("signed", { authMethod: "private_key_jwt", clientSecret: consented.text }, signer)
      ]
      assert.deepStrictEqual(deposits.map(({ status }) => status), [201, 201])

      const keyed = { clientId, authMethod: "private_key_jwt" }
      const [fresh, renewed] = ["client_secret", "client_secret"].map(Canary.makeText) as [string, string]
      provider.clients.set(clientId, { clientId, secrets: [renewed, old] })
      const descriptions = {
        made: keyed,
        brought: { ...keyed, clientSecret: replaced.text },
        posted: { ...keyed, clientSecret: replaced.text },
        signed: { clientId: signer, authMethod: "client_secret_basic", clientSecret: fresh },
        // Ways to send a secret are the same to it.
        sent: { clientId, authMethod: "client_secret_post", clientSecret: renewed }
      }
      for (const [server, client] of Object.entries(descriptions)) {
        assert.include([200, 201], (yield* describeServer(server, fresh, { client })).status, server)
        const { body } = yield* token(server, {})
        // A deposit's first token was obtained this moment.
        if (!deposited.includes(server)) yield* token(server, { rejectedToken: body["accessToken"] })
      }
      for (const request of provider.log) {
        const headers = JSON.stringify(request.headers)
        const arrived = [request.body, decodeURIComponent(request.body), headers, basicOf(request.headers)].join()
        for (const key of [consented, replaced]) assert.isFalse(arrived.includes(key.secret))
        assert.isFalse(arrived.includes(fresh))
        assert.notMatch(arrived, /"kty"/)
      }
      const kid = (assertion: string | null) =>
        JSON.parse(Buffer.from(assertion?.split(".")[0] ?? "", "base64url").toString())["kid"] as unknown
      assert.deepStrictEqual(
        refreshes().map(({ basic, form }) => [basic, form.get("client_secret"), form.has("client_assertion")]),
        [
          [old, null, false],
          [old, null, false],
          [undefined, old, false],
          [undefined, null, true],
          [renewed, null, false]
        ]
      )
      assert.strictEqual(kid(refreshes().at(-2)!.form.get("client_assertion")), consented.kid)
    })))
})

let keys = 0

/** A signing key, and what of it nobody may ever see. */
const elliptic = () => {
  const jwk = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" })
  const kid = `key-${++keys}`
  Canary.register("signing_key", jwk.d!)
  return { kid, secret: jwk.d!, text: JSON.stringify({ ...jwk, kid, alg: "ES256" }) }
}
