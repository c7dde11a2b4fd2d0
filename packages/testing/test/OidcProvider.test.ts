import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect, Redacted } from "effect"
import { authorizationUrl, obtain, pkce, redirectUri, refresh } from "./internal/plainClient.ts"

describe("OidcProvider", () => {
  it.live("issues a refresh token to a client that only asked for the grant, and sends iss", () =>
    Effect.gen(function*() {
      const provider = yield* OidcProvider.make({ accessTokenTtlSeconds: 42 })
      const { answer, callback, tokens } = yield* obtain(provider.issuer)
      assert.strictEqual(answer.status, 200)
      assert.strictEqual(answer.body["expires_in"], 42)
      assert.isString(tokens.refresh_token)
      assert.strictEqual(callback.searchParams.get("iss"), provider.issuer)
    }).pipe(Effect.scoped))

  it.live("counts redemptions and revokes the family of a refresh token that comes back", () =>
    Effect.gen(function*() {
      const provider = yield* OidcProvider.make()
      const { code, metadata, tokens } = yield* obtain(provider.issuer)
      const second = yield* refresh(metadata, tokens.refresh_token)
      assert.strictEqual(provider.reuseDetected(), 0)
      const replay = yield* refresh(metadata, tokens.refresh_token)
      assert.strictEqual(replay.body["error"], "invalid_grant")
      assert.strictEqual(provider.reuseDetected(), 1)
      const winner = yield* refresh(metadata, String(second.body["refresh_token"]))
      assert.strictEqual(winner.body["error"], "invalid_grant")
      assert.strictEqual(provider.redemptions(tokens.refresh_token), 2)
      assert.strictEqual(provider.redemptions(Redacted.make(code)), 1)
      assert.strictEqual(provider.refreshes.size, 2)
      assert.deepStrictEqual(provider.log.map(({ outcome }) => outcome), ["ok", "ok", "invalid_grant", "invalid_grant"])
    }).pipe(Effect.scoped))

  it.live("keeps the refresh token when rotation is off", () =>
    Effect.gen(function*() {
      const provider = yield* OidcProvider.make({ rotateRefreshTokens: false })
      const { metadata, tokens } = yield* obtain(provider.issuer)
      const second = yield* refresh(metadata, tokens.refresh_token)
      assert.strictEqual(second.body["refresh_token"], tokens.refresh_token)
    }).pipe(Effect.scoped))

  it.live("registers clients, introspects, revokes and expires", () =>
    Effect.gen(function*() {
      const provider = yield* OidcProvider.make({ accessTokenFormat: "opaque" })
      const { metadata, tokens } = yield* obtain(provider.issuer, { resource: "http://127.0.0.1:1/mcp" })
      const basic = Buffer.from(
        `${provider.introspection.clientId}:${Redacted.value(provider.introspection.clientSecret)}`
      ).toString("base64")
      const active = (token: string) =>
        Effect.promise(async () => {
          const response = await fetch(metadata["introspection_endpoint"] ?? "", {
            method: "POST",
            headers: { authorization: `Basic ${basic}` },
            body: new URLSearchParams({ token })
          })
          return await response.json() as { readonly active: boolean; readonly aud?: string }
        })
      assert.strictEqual((yield* active(tokens.access_token)).aud, "http://127.0.0.1:1/mcp")
      yield* provider.expireAccessTokens
      assert.isFalse((yield* active(tokens.access_token)).active)
      const registered = yield* Effect.promise(async () => {
        const response = await fetch(metadata["registration_endpoint"] ?? "", {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({
            redirect_uris: [redirectUri],
            application_type: "native",
            token_endpoint_auth_method: "none",
            grant_types: ["authorization_code", "refresh_token"]
          })
        })
        return await response.json() as { readonly client_id: string }
      })
      assert.strictEqual((yield* obtain(provider.issuer, { clientId: registered.client_id })).answer.status, 200)
      yield* Effect.promise(() =>
        fetch(metadata["revocation_endpoint"] ?? "", {
          method: "POST",
          body: new URLSearchParams({ token: tokens.refresh_token, client_id: "native" })
        })
      )
      assert.strictEqual(provider.revocations(), 1)
      assert.strictEqual((yield* refresh(metadata, tokens.refresh_token)).body["error"], "invalid_grant")
    }).pipe(Effect.scoped))

  it.live("registers what it issues as canaries and keeps secrets out of its log", () =>
    Effect.gen(function*() {
      const provider = yield* OidcProvider.make()
      const { code, tokens } = yield* obtain(provider.issuer)
      const known = Canary.all().map(({ unique }) => unique)
      const log = JSON.stringify(provider.log)
      for (const secret of [tokens.access_token, tokens.refresh_token, code]) {
        assert.include(known, secret)
        assert.notInclude(log, secret)
      }
    }).pipe(Effect.scoped))

  it.live("lets the person deny", () =>
    Effect.gen(function*() {
      const provider = yield* OidcProvider.make()
      const url = authorizationUrl(`${provider.issuer}/auth`, pkce().challenge)
      const callback = yield* UserAgent.make().callbackUrl(url, redirectUri, { deny: true })
      assert.strictEqual(callback.searchParams.get("error"), "access_denied")
    }).pipe(Effect.scoped))
})
