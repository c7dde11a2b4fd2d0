import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import { Effect } from "effect"
import * as Replica from "./support/Replica.ts"

const clientId = "robot"

/** Two replicas on one Postgres, and a client of oidc-provider that asks for tokens by its own authority. */
const deployed = Effect.gen(function*() {
  const database = yield* EmbeddedPostgres.database
  const publicPort = yield* Replica.freePort
  const clientSecret = Canary.makeText("client_secret")
  const provider = yield* OidcProvider.make({
    clients: [{
      client_id: clientId,
      client_secret: clientSecret,
      token_endpoint_auth_method: "client_secret_basic",
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: []
    }]
  })
  const { env, token } = Replica.deployment({
    databaseUrl: Replica.text(database.url),
    publicPort,
    allowEgress: new URL(provider.issuer).host
  })
  const replicas = yield* Effect.all([
    Replica.start({ ...env, VALETKEY_PUBLIC_LISTEN: `127.0.0.1:${publicPort}` }, token),
    Replica.start(env, token)
  ], { concurrency: 2 })
  const describeServer = (changes: Record<string, unknown> = {}) =>
    replicas[0].call("PUT", "/v1/servers/robot", {
      resource: `${provider.issuer}/mcp`,
      scopes: ["mcp:read"],
      grant: { type: "client_credentials" },
      client: { clientId, authMethod: "client_secret_basic", clientSecret },
      ...changes
    })
  /** The same call, ten times at each replica at once. */
  const everywhere = (method: string, path: string, body?: unknown) =>
    Effect.all(
      Array.from({ length: 20 }, (_, index) => replicas[index % 2 === 0 ? 0 : 1].call(method, path, body)),
      { concurrency: "unbounded" }
    )
  return { provider, replicas, describeServer, everywhere }
})

describe("a connection of a client alone", () => {
  it.live("EXT-05 connects without a flow, and costs two replicas one request for each token", () =>
    Effect.scoped(Effect.gen(function*() {
      const { describeServer, everywhere, provider, replicas: [one, other] } = yield* deployed
      assert.strictEqual((yield* describeServer()).status, 201)
      assert.strictEqual(
        (yield* other.call("POST", "/v1/connections/robot/token")).body["code"],
        "connection_not_found"
      )

      for (const { body, status } of yield* everywhere("POST", "/v1/flows", { server: "robot" })) {
        assert.strictEqual(status, 200, String(body["code"]))
        assert.isTrue(body["alreadyConnected"])
        assert.deepInclude(body["connection"], { server: "robot", status: "active", scopes: ["mcp:read"], clientId })
      }
      const requests = () => provider.log.filter(({ kind }) => kind === "token")
      assert.deepStrictEqual(requests().map(({ grantType, outcome }) => [grantType, outcome]), [
        ["client_credentials", "ok"]
      ])

      const first = yield* one.call("POST", "/v1/connections/robot/token")
      const rejected = { rejectedToken: first.body["accessToken"] }
      const second = yield* everywhere("POST", "/v1/connections/robot/token", rejected)
      assert.lengthOf([...new Set(second.map(({ body }) => body["accessToken"]))], 1)
      assert.notStrictEqual(second[0]!.body["accessToken"], first.body["accessToken"])
      assert.lengthOf(requests(), 2)
      assert.strictEqual(requests()[1]!.resource, `${provider.issuer}/mcp`)

      assert.strictEqual((yield* other.call("DELETE", "/v1/connections/robot")).status, 204)
      assert.strictEqual((yield* one.call("POST", "/v1/connections/robot/token")).body["code"], "connection_not_found")
      assert.lengthOf(requests(), 2)
    })))

  it.live("says at the start that the client is refused, and refuses a description that cannot work", () =>
    Effect.scoped(Effect.gen(function*() {
      const { describeServer, replicas: [one] } = yield* deployed
      const incomplete = [
        { client: undefined },
        { client: { clientId, authMethod: "none" } },
        { grant: undefined, endpoints: { token: "https://as.example/token" } }
      ]
      for (const changes of incomplete) {
        const { body, status } = yield* describeServer(changes)
        assert.deepStrictEqual([status, body["code"]], [400, "invalid_request"])
      }
      yield* describeServer({ client: { clientId, authMethod: "client_secret_basic", clientSecret: "another" } })
      const { body, status } = yield* one.call("POST", "/v1/flows", { server: "robot" })
      assert.deepStrictEqual([status, body["code"]], [409, "client_misconfigured"])
      assert.strictEqual((yield* one.call("GET", "/v1/connections/robot")).body["status"], "active")
    })))
})
