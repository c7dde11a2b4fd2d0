import { assert, describe, it } from "@effect/vitest"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Effect, Redacted } from "effect"
import * as Replica from "./support/Replica.ts"

/** A server with shared storage, a provider that it may call, and one on its own network that nobody may lead it to. */
const deployed = Effect.gen(function*() {
  const { url } = yield* EmbeddedPostgres.database
  const provider = yield* FakeProvider.make()
  const inner = yield* FakeProvider.make()
  const { env, token } = Replica.deployment({
    databaseUrl: Replica.text(url),
    publicPort: yield* Replica.freePort,
    allowEgress: new URL(provider.origin).host
  })
  // Its sockets are watched until the scope closes, and a connection that the configuration does not name fails the test.
  return { inner, provider, replica: yield* Replica.start(env, token) }
})

describe("a server with shared storage, watched at its sockets", () => {
  it.live("I15 SSRF-11 opens no connection to its own network, whatever a caller or a provider names", () =>
    Effect.scoped(Effect.gen(function*() {
      const { inner, provider, replica } = yield* deployed
      const { host, port } = new URL(inner.origin)
      const places = [
        `http://${host}`,
        `http://localhost:${port}`,
        `http://[::ffff:127.0.0.1]:${port}`,
        "http://169.254.169.254"
      ]
      const start = (server: string) => replica.call("POST", "/v1/flows", { server })

      // At once, because a refresh that gets nowhere is tried for a while.
      yield* Effect.forEach(places, (place, index) =>
        Effect.gen(function*() {
          const description = yield* replica.call("PUT", `/v1/servers/named-${index}`, { resource: `${place}/api` })
          if (description.status === 201) assert.notStrictEqual((yield* start(`named-${index}`)).status, 201)
          yield* replica.call("PUT", `/v1/connections/deposited-${index}`, {
            tokenEndpoint: `${place}/token`,
            revocationEndpoint: `${place}/revoke`,
            clientId: "c",
            refreshToken: Redacted.value(inner.grant().refreshToken)
          })
          yield* replica.call("POST", `/v1/connections/deposited-${index}/token`, {})
          yield* replica.call("DELETE", `/v1/connections/deposited-${index}`)
        }), { concurrency: "unbounded", discard: true })

      assert.strictEqual((yield* replica.call("PUT", "/v1/servers/led", { resource: provider.resource })).status, 201)
      for (const place of places) {
        for (
          const [endpoint, reply] of [
            [
              "resource",
              Reply.raw({
                status: 401,
                headers: { "www-authenticate": `Bearer resource_metadata="${place}/.well-known/x"` }
              })
            ],
            ["resourceMetadata", Reply.patch({ authorization_servers: [place] })],
            ["resourceMetadata", Reply.raw({ status: 302, headers: { location: `${place}/x` } })],
            ["serverMetadata", Reply.raw({ status: 302, headers: { location: `${place}/x` } })],
            [
              "serverMetadata",
              Reply.patch({ registration_endpoint: `${place}/register`, token_endpoint: `${place}/token` })
            ]
          ] as const
        ) {
          provider.script(endpoint, [reply])
          const { body } = yield* start("led")
          if (typeof body["flowId"] === "string") yield* replica.call("DELETE", `/v1/flows/${body["flowId"]}`)
        }
      }

      assert.isAbove(provider.log.length, 0)
      assert.deepStrictEqual(inner.log, [])
    })))
})
