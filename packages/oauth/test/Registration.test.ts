import { assert, describe, it } from "@effect/vitest"
import { AuthorizationServer, type AuthorizationServerMetadata } from "@valetkey/domain/AuthorizationServer"
import type { TransportKind } from "@valetkey/domain/Flow"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { DateTime, Effect, Redacted } from "effect"
import { layer, redirectUri } from "./internal/world.ts"

const metadataOf = (
  provider: FakeProvider.FakeProvider,
  changes: Partial<AuthorizationServerMetadata> = {}
): AuthorizationServerMetadata => ({
  issuer: provider.issuer,
  authorizationEndpoint: `${provider.issuer}/authorize`,
  tokenEndpoint: `${provider.issuer}/token`,
  registrationEndpoint: `${provider.issuer}/register`,
  issRequired: true,
  authMethods: ["none", "client_secret_basic", "client_secret_post"],
  resource: provider.resource,
  ...changes
})

const register = (
  provider: FakeProvider.FakeProvider,
  options: {
    readonly transport?: TransportKind
    readonly redirectUri?: string
    readonly scopes?: ReadonlyArray<string>
    readonly metadata?: Partial<AuthorizationServerMetadata>
  } = {}
) =>
  AuthorizationServer.use((oauth) =>
    oauth.register(metadataOf(provider, options.metadata), {
      redirectUri: options.redirectUri ?? redirectUri,
      transport: options.transport ?? "loopback",
      scopes: options.scopes ?? []
    })
  )

const refusal = (...input: Parameters<typeof register>) =>
  Effect.map(Effect.flip(register(...input)), ({ code }) => code)

const sent = (provider: FakeProvider.FakeProvider): Record<string, unknown> =>
  JSON.parse(provider.requests("registration").at(-1)?.body ?? "{}") as Record<string, unknown>

describe("Registration", () => {
  it.live("REG-08 registers a native public client for a listener on this machine", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const client = yield* register(provider, { scopes: ["a", "b"] })
      assert.deepStrictEqual(client, { clientId: "client-2", authMethod: "none" })
      assert.deepStrictEqual(sent(provider), {
        client_name: "Valetkey",
        application_type: "native",
        redirect_uris: [redirectUri],
        grant_types: ["authorization_code", "refresh_token"],
        response_types: ["code"],
        token_endpoint_auth_method: "none",
        scope: "a b"
      })
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("REG-05 REG-08 registers a web client with a secret for a public endpoint", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const client = yield* register(provider, {
        transport: "gateway",
        redirectUri: "https://valetkey.example/callback"
      })
      assert.strictEqual(sent(provider)["application_type"], "web")
      assert.notProperty(sent(provider), "scope")
      assert.strictEqual(client.authMethod, "client_secret_basic")
      assert.include(provider.clients.get(client.clientId)?.secrets ?? [], Redacted.value(client.clientSecret!))
      assert.notInclude(JSON.stringify(client), Redacted.value(client.clientSecret!))
      assert.isUndefined(client.clientSecretExpiresAt)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("REG-08 registers a native client for a gateway without https, which a web client may not be sent back to", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      yield* register(provider, { transport: "gateway" })
      assert.strictEqual(sent(provider)["application_type"], "native")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("chooses among the methods that the server offers", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const table: ReadonlyArray<readonly [TransportKind, ReadonlyArray<string>, string]> = [
        ["loopback", ["client_secret_basic"], "client_secret_basic"],
        ["loopback", ["private_key_jwt", "client_secret_post"], "client_secret_post"],
        ["gateway", ["none", "client_secret_post"], "client_secret_post"],
        ["gateway", ["none"], "none"]
      ]
      for (const [transport, authMethods, chosen] of table) {
        assert.strictEqual((yield* register(provider, { transport, metadata: { authMethods } })).authMethod, chosen)
      }
      const offered = { metadata: { authMethods: ["private_key_jwt"] } }
      assert.strictEqual(yield* refusal(provider, offered), "registration_unsupported")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("REG-04 tolerates a 200, a missing or null expiry, and keeps the expiry of a secret", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const client = { client_id: "c", client_secret: "s", redirect_uris: [redirectUri] }
      provider.script("registration", [
        Reply.json(200, client),
        Reply.json(201, { ...client, client_secret_expires_at: null }),
        Reply.json(201, { ...client, client_secret_expires_at: 4_102_444_800 })
      ])
      const gateway = { transport: "gateway" } as const
      assert.strictEqual((yield* register(provider, gateway)).clientId, "c")
      assert.isUndefined((yield* register(provider, gateway)).clientSecretExpiresAt)
      const expiring = yield* register(provider, gateway)
      assert.strictEqual(DateTime.formatIso(expiring.clientSecretExpiresAt!), "2100-01-01T00:00:00.000Z")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("REG-06 refuses answers without an id, for other redirect URIs or with a method we cannot use", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const answers = [
        Reply.json(201, {}),
        Reply.json(201, { client_id: "" }),
        Reply.json(201, { client_id: "c", client_secret: 7 }),
        Reply.json(201, { client_id: "c", redirect_uris: ["https://evil.example/"] }),
        Reply.json(201, { client_id: "c", token_endpoint_auth_method: "tls_client_auth" }),
        Reply.html(200),
        Reply.error("invalid_redirect_uri"),
        Reply.raw({ status: 403 }),
        Reply.redirect("/elsewhere")
      ]
      provider.script("registration", answers)
      for (const _ of answers.slice(0, -1)) assert.strictEqual(yield* refusal(provider), "registration_refused")
      assert.strictEqual(yield* refusal(provider), "authorization_server_unreachable")
      assert.isEmpty(provider.requests("elsewhere"))
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("tells a server without registration from one that is down", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const { registrationEndpoint: _, ...without } = metadataOf(provider)
      const unsupported = yield* AuthorizationServer.use((oauth) =>
        oauth.register(without, { redirectUri, transport: "loopback", scopes: [] })
      ).pipe(Effect.flip)
      assert.strictEqual(unsupported.code, "registration_unsupported")
      provider.script("registration", [Reply.raw({ status: 503 }), Reply.reset])
      assert.strictEqual(yield* refusal(provider), "authorization_server_unreachable")
      assert.strictEqual(yield* refusal(provider), "authorization_server_unreachable")
      const elsewhere = { metadata: { registrationEndpoint: "https://10.0.0.1/register" } }
      assert.strictEqual(yield* refusal(provider, elsewhere), "egress_refused")
    }).pipe(Effect.scoped, Effect.provide(layer)))
})
