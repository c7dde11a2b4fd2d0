import { assert, describe, it } from "@effect/vitest"
import { AuthorizationServer } from "@valetkey/domain/AuthorizationServer"
import { globalOnly } from "@valetkey/egress/AddressPolicy"
import { Egress } from "@valetkey/egress/Egress"
import { OAuth } from "@valetkey/oauth"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import * as Reply from "@valetkey/testing/Reply"
import { DateTime, Duration, Effect, Layer, Redacted } from "effect"
import { consent, grantAt, layer, layerWith, redirectUri, secret, server } from "./internal/world.ts"

const quirks = { introspectExpiry: true }
const at = (origin: string) => grantAt(origin, { introspectionEndpoint: `${origin}/introspect` })

const ask = (grant: ReturnType<typeof grantAt>, accessToken: Redacted.Redacted, clientSecret?: Redacted.Redacted) =>
  AuthorizationServer.use((oauth) => oauth.expiryOf(grant, { accessToken, clientSecret }))

describe("The end of an access token", () => {
  it.live("is what oidc-provider says of it, to a public client and to one with a secret", () =>
    Effect.gen(function*() {
      const clientSecret = secret()
      const confidential = { clientId: "confidential", authMethod: "client_secret_basic" as const }
      const provider = yield* OidcProvider.make({
        accessTokenTtlSeconds: 600,
        clients: [{
          client_id: confidential.clientId,
          client_secret: Redacted.value(clientSecret),
          token_endpoint_auth_method: confidential.authMethod,
          redirect_uris: [redirectUri],
          grant_types: ["authorization_code", "refresh_token"]
        }]
      })
      const oauth = yield* AuthorizationServer
      const target = server(`${provider.issuer}/mcp`, { quirks })
      const metadata = yield* oauth.discover(target)
      const introspectionEndpoint = metadata.introspectionEndpoint!
      const open = yield* oauth.register(metadata, { redirectUri, transport: "loopback", scopes: ["mcp:read"] })
      for (const [client, known] of [[open, undefined], [confidential, clientSecret]] as const) {
        const { callbackAccepted, codeVerifier, grant } = yield* consent(target, client)
        const { accessToken, expiresAt } = yield* oauth.exchange(callbackAccepted, {
          codeVerifier,
          clientSecret: known
        })
        const learnt = yield* ask({ ...grant, introspectionEndpoint }, accessToken, known)
        const apart = DateTime.toEpochMillis(learnt!) - DateTime.toEpochMillis(expiresAt!)
        assert.isAtMost(Math.abs(apart), 5000)
        assert.isUndefined(yield* ask({ ...grant, introspectionEndpoint }, secret(), known))
      }
      const asked = provider.log.filter(({ kind }) => kind === "introspection")
      assert.deepStrictEqual(asked.map(({ clientId }) => clientId), [
        open.clientId,
        open.clientId,
        confidential.clientId,
        confidential.clientId
      ])
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("is not learnt of a server that hangs, fails, calls the token inactive or says what cannot be", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const now = Math.floor(DateTime.toEpochMillis(yield* DateTime.now) / 1000)
      const lies = [
        Reply.hang,
        Reply.reset,
        Reply.raw({ status: 503 }),
        Reply.error("invalid_client", 401),
        Reply.json(200, { active: false, exp: now + 600 }),
        Reply.json(200, { exp: now + 600 }),
        Reply.json(200, { active: "true", exp: now + 600 }),
        Reply.json(200, { active: true }),
        Reply.json(200, { active: true, exp: now - 60 }),
        Reply.json(200, { active: true, exp: 0 }),
        Reply.json(200, { active: true, exp: "soon" }),
        Reply.raw({ status: 200, headers: { "content-type": "application/json" }, body: "[" })
      ]
      provider.script("introspection", lies)
      const { accessToken } = provider.grant()
      for (const _ of lies) assert.isUndefined(yield* ask(at(provider.origin), accessToken))
      assert.lengthOf(provider.requests("introspection"), lies.length)
      assert.deepStrictEqual(Object.fromEntries(provider.requests("introspection")[0]!.form), {
        client_id: "fake-client",
        token: Redacted.value(accessToken),
        token_type_hint: "access_token"
      })
    }).pipe(Effect.scoped, Effect.provide(layerWith({ introspection: "500 millis" }))))

  it.live("is never further away than a token answer may say", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      for (const exp of [1e12, 1e300]) {
        provider.script("introspection", [Reply.json(200, { active: true, exp })])
        const learnt = yield* ask(at(provider.origin), secret())
        const days = Duration.toDays(DateTime.distance(yield* DateTime.now, learnt!))
        assert.isAtMost(days, 400)
        assert.isAbove(days, 399)
      }
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("is asked of nobody without an endpoint or without the client's secret", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const { accessToken } = provider.grant()
      assert.isUndefined(yield* ask(grantAt(provider.origin), accessToken))
      assert.isUndefined(yield* ask({ ...at(provider.origin), authMethod: "client_secret_basic" }, accessToken))
      assert.isEmpty(provider.log)
      const oauth = yield* AuthorizationServer
      assert.isUndefined((yield* oauth.discover(server(provider.resource))).introspectionEndpoint)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("SSRF-11 is asked of no place that metadata may not name, nor of one that a grant names", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const internal = yield* FakeProvider.make()
      const context = yield* Layer.build(
        OAuth.layer.pipe(Layer.provide(Egress.layer({
          policy: globalOnly({ allow: [new URL(provider.origin).host] })
        })))
      )
      yield* Effect.gen(function*() {
        const oauth = yield* AuthorizationServer
        const { accessToken } = internal.grant()
        assert.isUndefined(yield* ask(at(internal.origin), accessToken))
        const resource = provider.resource.replace("127.0.0.1", "api.example")
        const endpoints = {
          authorization: "https://as.example/authorize",
          token: "https://as.example/token",
          introspection: `${internal.origin}/introspect`
        }
        const refused = yield* Effect.flip(oauth.discover(server(resource, { endpoints, quirks })))
        assert.strictEqual(refused.code, "egress_refused")
      }).pipe(Effect.provideContext(context))
      assert.isEmpty(internal.log)
    }).pipe(Effect.scoped))
})
