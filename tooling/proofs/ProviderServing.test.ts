import { assert, layer } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { Playground } from "./Playground.ts"

layer(Playground.layer({
  VALETKEY_PUBLIC_URL: "https://valetkey.example",
  VALETKEY_RETURN_URLS: "https://app.example/connected"
}))("a served provider with ways of its own", (it) => {
  it.effect("has a redirect URI over the gateway that is told, and that a connect then has", () =>
    Effect.gen(function*() {
      const { api, newName, provider } = yield* Playground
      const name = newName()
      const description = {
        resource: provider.resource,
        endpoints: { authorization: `${provider.issuer}/authorize`, token: `${provider.issuer}/token` },
        client: { clientId: "fake-client", authMethod: "none" }
      }
      const put = yield* api.call("PUT", `/v1/servers/${name}`, { body: description })
      const { gatewayRedirectUri } = put.json["server"] as { readonly gatewayRedirectUri?: string }
      assert.match(String(gatewayRedirectUri), /^https:\/\/valetkey\.example\/callback\/[\w-]{43}$/)
      const got = yield* api.call("GET", `/v1/servers/${name}`)
      assert.strictEqual(got.json["gatewayRedirectUri"], gatewayRedirectUri)
      const started = yield* api.call("POST", "/v1/flows", {
        body: {
          server: name,
          transport: "gateway",
          confirmation: "finalize",
          returnTo: "https://app.example/connected"
        }
      })
      const url = new URL(String(started.json["authorizationUrl"]))
      assert.strictEqual(url.searchParams.get("redirect_uri"), gatewayRedirectUri)
    }))

  it.effect("is refreshed in its dialect when its credentials were deposited", () =>
    Effect.gen(function*() {
      const { api, newName, provider } = yield* Playground
      const name = newName()
      provider.behaviour.quirks = ["json_requests", "other_token_type"]
      yield* Effect.addFinalizer(() => Effect.sync(() => void (provider.behaviour.quirks = [])))
      const { refreshToken } = provider.grant()
      yield* api.call("PUT", `/v1/servers/${name}`, {
        body: {
          resource: provider.resource,
          quirks: { tokenDialect: { requestBody: "json", tokenType: "bearer" } }
        }
      })
      const deposited = yield* api.call("PUT", `/v1/connections/${name}`, {
        body: {
          clientId: "fake-client",
          tokenEndpoint: `${provider.issuer}/token`,
          refreshToken: Redacted.value(refreshToken)
        }
      })
      assert.strictEqual(deposited.status, 201, deposited.text)
      const token = yield* api.call("POST", `/v1/connections/${name}/token`, { body: {}, secret: ["accessToken"] })
      assert.strictEqual(token.status, 200, token.text)
      assert.isTrue(provider.isActive(String(token.json["accessToken"])))
    }).pipe(Effect.scoped))
})
