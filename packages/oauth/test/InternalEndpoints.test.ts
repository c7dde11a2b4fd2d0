import { assert, describe, it } from "@effect/vitest"
import { AuthorizationServer } from "@valetkey/domain/AuthorizationServer"
import { globalOnly } from "@valetkey/egress/AddressPolicy"
import { Egress } from "@valetkey/egress/Egress"
import { OAuth } from "@valetkey/oauth"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Effect, Layer, Redacted } from "effect"
import { accepted, grantAt, redirectUri, secret, server } from "./internal/world.ts"

/** A provider that a deployment may call, and one on its own network that nobody may lead it to. */
const world = Effect.gen(function*() {
  const provider = yield* FakeProvider.make()
  const internal = yield* FakeProvider.make()
  const context = yield* Layer.build(
    OAuth.layer.pipe(Layer.provide(Egress.layer({
      policy: globalOnly({ allow: [new URL(provider.origin).host] })
    })))
  )
  return { provider, internal, use: Effect.provideContext(Effect.service(AuthorizationServer), context) }
})

describe("an endpoint on the network of a deployment", () => {
  it.live("SSRF-11 gets no request when metadata names it, whatever it names it for", () =>
    Effect.gen(function*() {
      const { internal, provider, use } = yield* world
      const oauth = yield* use
      for (const at of [internal.origin, internal.origin.replace("127.0.0.1", "localhost")]) {
        provider.always(
          "serverMetadata",
          Reply.patch({
            token_endpoint: `${at}/token`,
            revocation_endpoint: `${at}/revoke`,
            registration_endpoint: `${at}/register`,
            introspection_endpoint: `${at}/introspect`,
            jwks_uri: `${at}/jwks`
          })
        )
        const metadata = yield* oauth.discover(server(provider.resource))
        const { tokenEndpoint, revocationEndpoint } = metadata
        const grant = grantAt(provider.origin, { tokenEndpoint, revocationEndpoint: revocationEndpoint! })
        const { refreshToken } = provider.grant()
        const clientSecret = undefined
        const failures = yield* Effect.all([
          Effect.flip(oauth.refresh(grant, { refreshToken, clientSecret })),
          Effect.flip(oauth.exchange(accepted(grant, secret()), { codeVerifier: secret(), clientSecret })),
          Effect.flip(oauth.revoke(grant, { token: refreshToken, hint: "refresh_token", clientSecret })),
          Effect.flip(oauth.register(metadata, { redirectUri, transport: "gateway", scopes: [] }))
        ])
        assert.lengthOf(failures, 4)
      }
      assert.deepStrictEqual(internal.log, [])
    }).pipe(Effect.scoped))

  it.live("SSRF-11 gets no request from a grant that names it: no code, no token and no registration", () =>
    Effect.gen(function*() {
      const { internal, provider, use } = yield* world
      const oauth = yield* use
      const grant = grantAt(internal.origin)
      const { refreshToken } = internal.grant()
      for (
        const attempt of [
          oauth.refresh(grant, { refreshToken, clientSecret: undefined }),
          oauth.exchange(accepted(grant, secret()), { codeVerifier: secret(), clientSecret: undefined })
        ]
      ) assert.strictEqual((yield* Effect.flip(attempt)).reason._tag, "Transient")
      yield* Effect.flip(oauth.revoke(grant, { token: refreshToken, hint: "refresh_token", clientSecret: undefined }))
      const metadata = yield* oauth.discover(server(provider.resource))
      const refused = yield* Effect.flip(oauth.register(
        { ...metadata, registrationEndpoint: `${internal.origin}/register` },
        { redirectUri, transport: "gateway", scopes: [] }
      ))
      assert.strictEqual(refused.code, "egress_refused")
      assert.deepStrictEqual(internal.log, [])
      assert.isTrue(internal.isActive(Redacted.value(internal.grant().accessToken)))
    }).pipe(Effect.scoped))
})
