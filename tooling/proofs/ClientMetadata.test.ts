import { assert, describe, it } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Servers } from "@valetkey/domain/Servers"
import * as MemoryStore from "@valetkey/store-memory/MemoryStore"
import * as LoopbackServer from "@valetkey/testing/LoopbackServer"
import * as McpResource from "@valetkey/testing/McpResource"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import { Effect, Option } from "effect"
import * as Installation from "./Installation.ts"
import { consent, publishing } from "./Publishing.ts"

const grantOf = Effect.fnUntraced(function*(key: Parameters<typeof Installation.connect>[0]) {
  return Option.getOrThrow(yield* (yield* ConnectionStore).get(key)).grant
})

describe("a client id metadata document", () => {
  it.live("REG-09 is the client of a gateway flow: the provider fetches it, and its URL is the client id to the letter", () =>
    Effect.scoped(Effect.gen(function*() {
      const documents: Record<string, string> = {}
      const provider = yield* OidcProvider.make({ clientIdDocuments: documents })
      const resource = yield* McpResource.make(provider)
      yield* Effect.gen(function*() {
        const { fetched, origin } = yield* publishing
        const key = yield* Installation.describe(resource.url)
        const { clientId, redirectUri } = yield* consent(key, (clientId) => {
          documents[clientId] = clientId.replace(Installation.publicUrl.origin, origin)
        })
        assert.deepInclude(yield* grantOf(key), { clientId, authMethod: "none" })
        assert.include(fetched, new URL(clientId).pathname)

        const response = yield* Effect.promise(() => fetch(documents[clientId]!))
        const text = yield* Effect.promise(() => response.text())
        assert.isBelow(text.length, 5_000)
        assert.deepInclude(JSON.parse(text), {
          client_id: clientId,
          redirect_uris: [redirectUri],
          token_endpoint_auth_method: "none"
        })
        assert.notInclude(text, "evil.example")
        assert.notMatch(text, /secret|jwks/)
      }).pipe(Effect.provide(Installation.layer(MemoryStore.layer)))
      assert.isEmpty(provider.log.filter(({ kind }) => kind === "registration"))
    })))

  it.live("that an operator publishes is the client of a loopback flow, on whatever port; others are registered", () =>
    Effect.scoped(Effect.gen(function*() {
      const document = "https://apps.example/valetkey.json"
      const { origin } = yield* LoopbackServer.listen((_, response) =>
        void response.setHeader("content-type", "application/json").end(JSON.stringify({
          client_id: document,
          client_name: "Valetkey",
          application_type: "native",
          redirect_uris: ["http://127.0.0.1/callback"],
          grant_types: ["authorization_code", "refresh_token"],
          response_types: ["code"],
          token_endpoint_auth_method: "none"
        }))
      )
      const provider = yield* OidcProvider.make({
        clientIdDocuments: { [document]: `${origin}/` }
      })
      const resource = yield* McpResource.make(provider)
      yield* Effect.gen(function*() {
        const key = yield* Installation.describe(resource.url)
        assert.strictEqual((yield* Installation.connect(key)).state, "completed")
        assert.strictEqual((yield* grantOf(key)).clientId, document)

        yield* (yield* Servers).put(key.tenant, key.server, {
          resource: resource.url,
          quirks: { clientMetadataDocument: false }
        })
        assert.strictEqual((yield* Installation.connect(key)).state, "completed")
        assert.notStrictEqual((yield* grantOf(key)).clientId, document)
      }).pipe(
        Effect.provide(
          Installation.layer(MemoryStore.layer, Installation.freshKeys(), { clientMetadataUrl: document })
        )
      )
    })))
})
