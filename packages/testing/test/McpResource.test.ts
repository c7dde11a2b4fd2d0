import { assert, describe, it } from "@effect/vitest"
import * as McpClient from "@valetkey/testing/McpClient"
import * as McpResource from "@valetkey/testing/McpResource"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import { Effect, Redacted } from "effect"
import { getJson, obtain } from "./internal/plainClient.ts"

describe("McpResource", () => {
  it.live("answers whoami to a token for it and refuses others with a challenge", () =>
    Effect.gen(function*() {
      const provider = yield* OidcProvider.make()
      const resource = yield* McpResource.make(provider)
      const challenge = yield* Effect.promise(() => fetch(resource.url, { method: "POST" }))
      assert.strictEqual(challenge.status, 401)
      const metadataUrl = /resource_metadata="([^"]+)"/.exec(challenge.headers.get("www-authenticate") ?? "")?.[1] ?? ""
      const metadata = yield* getJson(metadataUrl)
      assert.strictEqual(metadata["resource"], resource.url)
      assert.deepStrictEqual(metadata["authorization_servers"] as unknown, [provider.issuer])

      const { tokens } = yield* obtain(provider.issuer, { resource: resource.url })
      const who = yield* McpClient.whoami(resource.url, { token: Redacted.make(tokens.access_token) })
      assert.strictEqual(who.sub, "alice")
      assert.strictEqual(resource.calls(), 1)

      const other = yield* obtain(provider.issuer, { resource: "http://127.0.0.1:1/other" })
      const error = yield* Effect.flip(McpClient.whoami(resource.url, { token: other.tokens.access_token }))
      assert.strictEqual(error.status, 401)
      assert.strictEqual(resource.unauthorized(), 2)

      resource.rejectNext(1)
      yield* Effect.flip(McpClient.whoami(resource.url, { token: tokens.access_token }))
      yield* provider.expireAccessTokens
      yield* Effect.flip(McpClient.whoami(resource.url, { token: tokens.access_token }))
      assert.strictEqual(resource.calls(), 1)
    }).pipe(Effect.scoped))
})
