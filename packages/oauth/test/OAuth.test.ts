import { assert, describe, it } from "@effect/vitest"
import { AuthorizationServer } from "@valetkey/domain/AuthorizationServer"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import { Effect, Redacted } from "effect"
import { consent, layer, redirectUri, server } from "./internal/world.ts"

describe("OAuth against oidc-provider", () => {
  it.live("discovers, registers, exchanges with PKCE, rotates and revokes", () =>
    Effect.gen(function*() {
      const provider = yield* OidcProvider.make({ accessTokenTtlSeconds: 60 })
      const oauth = yield* AuthorizationServer
      const target = server(`${provider.issuer}/mcp`)
      const metadata = yield* oauth.discover(target)
      assert.strictEqual(metadata.issuer, provider.issuer)
      assert.isTrue(metadata.issRequired)

      const client = yield* oauth.register(metadata, { redirectUri, transport: "loopback", scopes: ["mcp:read"] })
      assert.strictEqual(client.authMethod, "none")
      const { callback, callbackAccepted, code, codeVerifier, grant } = yield* consent(target, client)
      assert.strictEqual(callback.searchParams.get("iss"), provider.issuer)

      const first = yield* oauth.exchange(callbackAccepted, { codeVerifier, clientSecret: undefined })
      assert.strictEqual(provider.redemptions(code), 1)
      const second = yield* oauth.refresh(grant, { refreshToken: first.refreshToken!, clientSecret: undefined })
      assert.notStrictEqual(Redacted.value(second.refreshToken!), Redacted.value(first.refreshToken!))
      assert.strictEqual(provider.redemptions(first.refreshToken!), 1)
      assert.strictEqual(provider.reuseDetected(), 0)
      assert.isTrue(
        provider.log.filter(({ kind }) => kind === "token").every(({ resource }) => resource === grant.resource)
      )

      yield* oauth.revoke(grant, { token: second.refreshToken!, hint: "refresh_token", clientSecret: undefined })
      assert.strictEqual(provider.revocations(), 1)
      const after = yield* Effect.flip(
        oauth.refresh(grant, { refreshToken: second.refreshToken!, clientSecret: undefined })
      )
      assert.deepStrictEqual(after.reason, { _tag: "Terminal", error: "invalid_grant" })
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("TOK-23 BIND-13 learns from the ID token whose the credentials are, and at a refresh whose they still are", () =>
    Effect.gen(function*() {
      const provider = yield* OidcProvider.make()
      const oauth = yield* AuthorizationServer
      const target = server(`${provider.issuer}/mcp`)
      const metadata = yield* oauth.discover(target)
      const client = yield* oauth.register(metadata, { redirectUri, transport: "loopback", scopes: [] })
      for (const login of ["ada", "bob"]) {
        const { callbackAccepted, codeVerifier, grant, nonce } = yield* consent(target, { ...client, login })
        const secrets = { clientSecret: undefined }
        const first = yield* oauth.exchange(callbackAccepted, { codeVerifier, nonce, ...secrets })
        assert.deepStrictEqual(first.account, { issuer: provider.issuer, id: login, label: `${login}@id.example` })
        const second = yield* oauth.refresh(grant, { refreshToken: first.refreshToken!, ...secrets })
        assert.deepStrictEqual(second.account, { issuer: provider.issuer, id: login })
      }
      const { callbackAccepted, codeVerifier } = yield* consent(target, { ...client, login: "ada" })
      const other = { codeVerifier, nonce: Redacted.make("of another flow"), clientSecret: undefined }
      const error = yield* Effect.flip(oauth.exchange(callbackAccepted, other))
      assert.strictEqual(error.reason._tag, "UntrustedIdToken")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("REG-08 obtains tokens as a confidential web client", () =>
    Effect.gen(function*() {
      const provider = yield* OidcProvider.make()
      const oauth = yield* AuthorizationServer
      const target = server(`${provider.issuer}/mcp`)
      const metadata = yield* oauth.discover(target)
      const uri = "https://valetkey.example/callback/context"
      const client = yield* oauth.register(metadata, { redirectUri: uri, transport: "gateway", scopes: [] })
      assert.strictEqual(client.authMethod, "client_secret_basic")
      const { callbackAccepted, codeVerifier, grant } = yield* consent(target, { ...client, redirectUri: uri })
      const secrets = { clientSecret: client.clientSecret }
      const first = yield* oauth.exchange(callbackAccepted, { codeVerifier, ...secrets })
      const second = yield* oauth.refresh(grant, { refreshToken: first.refreshToken!, ...secrets })
      yield* oauth.revoke(grant, { token: second.accessToken, hint: "access_token", ...secrets })
      assert.strictEqual(provider.revocations(), 1)
    }).pipe(Effect.scoped, Effect.provide(layer)))
})
