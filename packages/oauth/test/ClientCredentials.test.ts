import { assert, describe, it } from "@effect/vitest"
import { AuthorizationServer } from "@valetkey/domain/AuthorizationServer"
import type { Grant } from "@valetkey/domain/Connection"
import type { TokenEndpointAuthMethod } from "@valetkey/domain/Server"
import * as Canary from "@valetkey/testing/Canary"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Effect, Redacted } from "effect"
import { grantAt, layer, server } from "./internal/world.ts"

/** Awkward on purpose: each of its characters means something to a form or to HTTP Basic (RFC 6749 §2.3.1). */
const clientId = "robot:one-and_only"

const robot = (authMethod: TokenEndpointAuthMethod, secret: Redacted.Redacted): OidcProvider.Client => ({
  client_id: clientId,
  client_secret: Redacted.value(secret),
  token_endpoint_auth_method: authMethod,
  grant_types: ["client_credentials"],
  redirect_uris: [],
  response_types: []
})

const authority = { _tag: "Client" } as const

const unattended = (scopes: ReadonlyArray<string>): NonNullable<Grant["unattended"]> => ({
  grant: { type: "client_credentials" },
  scopes: [...scopes]
})

describe("a token by the client's own authority", () => {
  for (const authMethod of ["client_secret_basic", "client_secret_post"] as const) {
    it.live(`EXT-05 is asked for at oidc-provider with ${authMethod}, for a resource and scopes`, () =>
      Effect.gen(function*() {
        const clientSecret = Redacted.make(`${Redacted.value(Canary.make("client_secret"))}+/ %:*~-_.`)
        const provider = yield* OidcProvider.make({ clients: [robot(authMethod, clientSecret)] })
        const oauth = yield* AuthorizationServer
        const resource = `${provider.issuer}/mcp`
        const grant = grantAt(provider.issuer, {
          clientId,
          authMethod,
          resource,
          unattended: unattended(["mcp:read", "mcp:write"])
        })
        const [first, second] = [
          yield* oauth.obtain(grant, { authority, clientSecret }),
          yield* oauth.obtain(grant, { authority, clientSecret })
        ]
        assert.notStrictEqual(Redacted.value(first.accessToken), Redacted.value(second.accessToken))
        assert.isUndefined(first.refreshToken)
        assert.deepStrictEqual(first.scopes, ["mcp:read", "mcp:write"])
        assert.isDefined(first.expiresAt)
        for (const { grantType, outcome, resource: asked, scope } of provider.log) {
          assert.deepStrictEqual([grantType, outcome, asked, scope], [
            "client_credentials",
            "ok",
            resource,
            "mcp:read mcp:write"
          ])
        }
        const error = yield* Effect.flip(oauth.obtain(grant, { authority, clientSecret: Redacted.make("wrong") }))
        assert.deepStrictEqual(error.reason, { _tag: "Configuration", error: "invalid_client" })
      }).pipe(Effect.scoped, Effect.provide(layer)))
  }

  it.live("EXT-05 leaves out what is not asked for, and drops a refresh token that comes all the same", () =>
    Effect.gen(function*() {
      const clientSecret = Canary.make("client_secret")
      const provider = yield* FakeProvider.make()
      const oauth = yield* AuthorizationServer
      provider.always("token", Reply.json(200, { access_token: "at", token_type: "Bearer", refresh_token: "rt" }))
      const { resource: _, ...grant } = grantAt(provider.origin, {
        authMethod: "client_secret_post",
        unattended: unattended([])
      })
      const credentials = yield* oauth.obtain(grant, { authority, clientSecret })
      assert.strictEqual(Redacted.value(credentials.accessToken), "at")
      assert.isFalse("refreshToken" in credentials)
      const form = new URLSearchParams(provider.requests("token")[0]!.body)
      assert.deepStrictEqual([...form.keys()].toSorted(), ["client_id", "client_secret", "grant_type"])
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("needs no authorization endpoint and no PKCE of the server, which a person's consent does", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const { code_challenge_methods_supported: _, ...metadata } = {
        issuer: provider.issuer,
        token_endpoint: `${provider.issuer}/token`,
        grant_types_supported: ["client_credentials"],
        code_challenge_methods_supported: []
      }
      provider.always("serverMetadata", Reply.json(200, metadata))
      const oauth = yield* AuthorizationServer
      const found = yield* oauth.discover(server(provider.resource, { grant: { type: "client_credentials" } }))
      assert.strictEqual(found.tokenEndpoint, metadata.token_endpoint)
      assert.isUndefined(found.authorizationEndpoint)
      assert.strictEqual((yield* Effect.flip(oauth.discover(server(provider.resource)))).code, "metadata_invalid")
    }).pipe(Effect.scoped, Effect.provide(layer)))
})
