import { assert, describe, it } from "@effect/vitest"
import { AuthorizationServer, type AuthorizationServerMetadata } from "@valetkey/domain/AuthorizationServer"
import type { DeviceAuthorizationRequest } from "@valetkey/domain/DeviceAuthorization"
import { globalOnly } from "@valetkey/egress/AddressPolicy"
import { Egress } from "@valetkey/egress/Egress"
import { OAuth } from "@valetkey/oauth"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import * as Reply from "@valetkey/testing/Reply"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Duration, Effect, Layer, Redacted, Result } from "effect"
import { grantAt, layer, layerWith, secret, server } from "./internal/world.ts"

const metadataAt = (origin: string, rest: Partial<AuthorizationServerMetadata> = {}): AuthorizationServerMetadata => ({
  issuer: origin,
  authorizationEndpoint: `${origin}/authorize`,
  tokenEndpoint: `${origin}/token`,
  deviceAuthorizationEndpoint: `${origin}/device`,
  issRequired: false,
  authMethods: ["none"],
  resource: `${origin}/api`,
  ...rest
})

const request: DeviceAuthorizationRequest = {
  clientId: "fake-client",
  authMethod: "none",
  clientSecret: undefined,
  scopes: ["mcp:read", "mcp:write"],
  resource: "https://mcp.example/api"
}

const authorize = (metadata: AuthorizationServerMetadata, change: Partial<DeviceAuthorizationRequest> = {}) =>
  AuthorizationServer.use((oauth) => oauth.authorizeDevice(metadata, { ...request, ...change }))

const answer = {
  device_code: "a device code",
  user_code: "WDJB-MJHT",
  expires_in: 600
}

describe("DeviceFlow", () => {
  it.live("EXT-01 asks for a code with client, scopes and resource, and for what became of it with the code alone", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make({
        clients: [{ clientId: "confidential", secrets: ["s3cret"] }]
      })
      const metadata = yield* AuthorizationServer.use((oauth) => oauth.discover(server(provider.resource)))
      assert.strictEqual(metadata.deviceAuthorizationEndpoint, `${provider.issuer}/device`)
      const authorization = yield* authorize(metadata)
      assert.deepStrictEqual(Object.fromEntries(provider.requests("device")[0]!.form), {
        client_id: "fake-client",
        scope: "mcp:read mcp:write",
        resource: "https://mcp.example/api"
      })
      assert.strictEqual(authorization.verificationUri, `${provider.issuer}/activate`)
      assert.strictEqual(Redacted.value(authorization.userCode), "WDJB-MJHT")
      assert.deepStrictEqual(
        [Duration.toSeconds(authorization.interval), Duration.toSeconds(authorization.expiresIn)],
        [5, 600]
      )
      const poll = AuthorizationServer.use((oauth) =>
        oauth.poll(grantAt(provider.origin), { deviceCode: authorization.deviceCode, clientSecret: undefined })
      )
      assert.deepStrictEqual(yield* poll, { _tag: "Pending" })
      assert.deepStrictEqual(Object.fromEntries(provider.requests("token")[0]!.form), {
        grant_type: "urn:ietf:params:oauth:grant-type:device_code",
        device_code: Redacted.value(authorization.deviceCode),
        client_id: "fake-client",
        resource: provider.resource
      })
      provider.answerDevices("approved")
      const granted = yield* poll
      if (granted._tag !== "Granted") return assert.fail(granted._tag)
      assert.isTrue(provider.isActive(granted.credentials.accessToken))
      assert.deepStrictEqual(granted.credentials.scopes, ["mcp:read", "mcp:write"])
      assert.deepStrictEqual((yield* Effect.flip(poll)).reason, { _tag: "Terminal", error: "invalid_grant" })

      const other = yield* authorize(metadata, {
        clientId: "confidential",
        authMethod: "client_secret_post",
        clientSecret: Redacted.make("s3cret")
      })
      provider.answerDevices("denied")
      assert.deepStrictEqual(
        yield* AuthorizationServer.use((oauth) =>
          oauth.poll(
            { ...grantAt(provider.origin), clientId: "confidential", authMethod: "client_secret_basic" },
            { deviceCode: other.deviceCode, clientSecret: Redacted.make("s3cret") }
          )
        ),
        { _tag: "Denied" }
      )
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("EXT-01 tells every answer of the token endpoint apart, whatever its status", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const grant = grantAt(provider.origin)
      const poll = (reply: Reply.Reply) => {
        provider.script("token", [reply])
        return AuthorizationServer.use((oauth) => oauth.poll(grant, { deviceCode: secret(), clientSecret: undefined }))
      }
      const pending = { _tag: "Pending" }
      // GitHub answers with 200, Google with 428.
      for (const status of [200, 400, 428]) {
        assert.deepStrictEqual(yield* poll(Reply.error("authorization_pending", status)), pending)
      }
      assert.deepStrictEqual(yield* poll(Reply.error("slow_down", 429)), { _tag: "SlowDown", interval: undefined })
      const slower = yield* poll(Reply.json(200, { error: "slow_down", interval: 15 }))
      assert.strictEqual(slower._tag === "SlowDown" && Duration.toSeconds(slower.interval!), 15)
      assert.deepStrictEqual(yield* poll(Reply.error("access_denied")), { _tag: "Denied" })
      assert.deepStrictEqual(yield* poll(Reply.error("authorization_declined")), { _tag: "Denied" })
      assert.deepStrictEqual(yield* poll(Reply.error("expired_token")), { _tag: "Expired" })
      const reasons = [
        [Reply.error("invalid_grant"), "Terminal"],
        [Reply.error("invalid_client", 401), "Configuration"],
        [Reply.html(503), "Transient"],
        [Reply.reset, "UnknownOutcome"],
        [Reply.json(200, { access_token: 1 }), "UnknownOutcome"]
      ] as const
      for (const [reply, reason] of reasons) {
        assert.strictEqual((yield* Effect.flip(poll(reply))).reason._tag, reason)
      }
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("EXT-01 gives up a poll that gets no answer, as one whose outcome nobody knows", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      provider.script("token", [Reply.hang])
      const error = yield* Effect.flip(
        AuthorizationServer.use((oauth) =>
          oauth.poll(grantAt(provider.origin), { deviceCode: secret(), clientSecret: undefined })
        )
      )
      assert.strictEqual(error.reason._tag, "UnknownOutcome")
    }).pipe(Effect.scoped, Effect.provide(layerWith({ token: "200 millis" }))))

  it.live("EXT-01 says which step is missing: no endpoint, a refusal, no answer, something else than an answer", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const metadata = metadataAt(provider.origin)
      const { deviceAuthorizationEndpoint: _, ...without } = metadata
      assert.strictEqual((yield* Effect.flip(authorize(without))).code, "device_unsupported")
      const code = (reply: Reply.Reply) => {
        provider.script("device", [reply])
        return Effect.map(Effect.flip(authorize(metadata)), ({ code }) => code)
      }
      const page = `${provider.origin}/activate`
      const ok = { ...answer, verification_uri: page }
      const cases = [
        [Reply.error("unauthorized_client"), "device_refused"],
        [Reply.error("invalid_scope"), "device_refused"],
        [Reply.html(200), "device_refused"],
        [Reply.html(503), "authorization_server_unreachable"],
        [Reply.reset, "authorization_server_unreachable"],
        [Reply.json(200, { ...ok, device_code: "" }), "device_refused"],
        [Reply.json(200, { ...ok, user_code: "A\u001b[2J" }), "device_refused"],
        [Reply.json(200, { ...ok, user_code: "A".repeat(65) }), "device_refused"],
        [Reply.json(200, { ...ok, expires_in: -1 }), "device_refused"],
        [Reply.json(200, { ...ok, verification_uri: "javascript:alert(1)" }), "device_refused"],
        [Reply.json(200, answer), "device_refused"]
      ] as const
      for (const [reply, expected] of cases) assert.strictEqual(yield* code(reply), expected)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("EXT-02 shows no page on another host than the one that is named, and none that metadata may not name", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const metadata = metadataAt(provider.origin)
      const page = `${provider.origin}/activate`
      const complete = (link: unknown) => {
        provider.script("device", [
          Reply.json(200, { ...answer, verification_uri: page, verification_uri_complete: link, interval: "7" })
        ])
        return Effect.map(authorize(metadata), ({ interval, verificationUriComplete }) => {
          assert.strictEqual(Duration.toSeconds(interval), 7)
          return verificationUriComplete && Redacted.value(verificationUriComplete)
        })
      }
      assert.strictEqual(yield* complete(`${page}?user_code=WDJB-MJHT`), `${page}?user_code=WDJB-MJHT`)
      assert.isUndefined(yield* complete("https://elsewhere.example/activate?user_code=WDJB-MJHT"))
      assert.isUndefined(yield* complete("javascript:alert(1)"))
      // What Google calls it.
      provider.always("device", Reply.json(200, { ...answer, verification_url: page }))
      assert.strictEqual((yield* authorize(metadata)).verificationUri, page)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("EXT-02 sends nobody from a public resource to a page on this machine, although the endpoint is allowed", () =>
    Effect.scoped(Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const policy = globalOnly({ allow: [new URL(provider.origin).host] })
      const allowing = OAuth.layer.pipe(Layer.provide(Egress.layer({ policy })))
      const metadata = metadataAt(provider.origin, { resource: "https://mcp.example/api" })
      const asked = Effect.provide(Effect.result(authorize(metadata)), allowing)
      assert.isTrue(Result.isSuccess(yield* asked))
      provider.always("device", Reply.json(200, { ...answer, verification_uri: "http://127.0.0.1:1/activate" }))
      const refused = yield* asked
      assert.strictEqual(Result.isFailure(refused) && refused.failure.code, "device_refused")
    })))

  it.live("SSRF-01 EXT-01 sends nothing to a device endpoint that the guard refuses", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const inward = metadataAt(provider.origin, { resource: "https://mcp.example/api" })
      assert.strictEqual((yield* Effect.flip(authorize(inward))).code, "egress_refused")
      assert.strictEqual(provider.requests("device").length, 0)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("EXT-01 connects a device at oidc-provider: registered for it, pending, consented, refreshed", () =>
    Effect.gen(function*() {
      const provider = yield* OidcProvider.make()
      const oauth = yield* AuthorizationServer
      const target = server(`${provider.issuer}/mcp`)
      const metadata = yield* oauth.discover(target)
      const client = yield* oauth.register(metadata, {
        redirectUri: undefined,
        transport: "device",
        scopes: ["mcp:read"]
      })
      assert.strictEqual(client.authMethod, "none")
      const authorization = yield* authorize(metadata, {
        clientId: client.clientId,
        scopes: ["mcp:read"],
        resource: metadata.resource
      })
      const grant = {
        ...grantAt(provider.issuer),
        tokenEndpoint: metadata.tokenEndpoint,
        clientId: client.clientId,
        resource: metadata.resource
      }
      const poll = oauth.poll(grant, { deviceCode: authorization.deviceCode, clientSecret: undefined })
      assert.deepStrictEqual(yield* poll, { _tag: "Pending" })
      const page = yield* UserAgent.make().authorize(authorization.verificationUri, {
        answers: { user_code: Redacted.value(authorization.userCode) }
      })
      assert.strictEqual(page.status, 200)
      const granted = yield* poll
      if (granted._tag !== "Granted") return assert.fail(granted._tag)
      assert.deepStrictEqual(granted.credentials.scopes, ["mcp:read"])
      const next = yield* oauth.refresh(grant, {
        refreshToken: granted.credentials.refreshToken!,
        clientSecret: undefined
      })
      assert.notStrictEqual(Redacted.value(next.accessToken), Redacted.value(granted.credentials.accessToken))
      // A code that was granted is refused from then on.
      assert.deepStrictEqual((yield* Effect.flip(poll)).reason, { _tag: "Terminal", error: "invalid_grant" })

      const denied = yield* authorize(metadata, { clientId: client.clientId, scopes: ["mcp:read"] })
      yield* UserAgent.make().authorize(Redacted.value(denied.verificationUriComplete!), { deny: true })
      assert.deepStrictEqual(
        yield* oauth.poll(grant, { deviceCode: denied.deviceCode, clientSecret: undefined }),
        { _tag: "Denied" }
      )
    }).pipe(Effect.scoped, Effect.provide(layer)))
})
