import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { RegistrationStore } from "@valetkey/domain/RegistrationStore"
import { Servers } from "@valetkey/domain/Servers"
import type { PublicKey } from "@valetkey/domain/SigningKey"
import * as MemoryStore from "@valetkey/store-memory/MemoryStore"
import * as McpResource from "@valetkey/testing/McpResource"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import { Effect, Option } from "effect"
import * as Installation from "./Installation.ts"
import { consent, publishing } from "./Publishing.ts"

const signaturesAlone = { metadata: { token_endpoint_auth_methods_supported: ["private_key_jwt"] } }

const grantOf = Effect.fnUntraced(function*(key: ConnectionKey) {
  return Option.getOrThrow(yield* (yield* ConnectionStore).get(key)).grant
})

/** The keys that a provider was told of, by client. */
const keysAt = (provider: OidcProvider.OidcProvider, clientId: string) =>
  Effect.promise(async () => {
    const { keys } = await provider.keysOf(clientId)
    return keys.map(({ kid }) => kid)
  })

describe("keys of clients", () => {
  it.live("REG-13 are one for each authorization server, through consent, refresh and revocation", () =>
    Effect.scoped(Effect.gen(function*() {
      const providers = yield* Effect.all([OidcProvider.make(signaturesAlone), OidcProvider.make(signaturesAlone)])
      yield* Effect.gen(function*() {
        const kids: Array<string | undefined> = []
        for (const [index, provider] of providers.entries()) {
          const key = yield* Installation.describe((yield* McpResource.make(provider)).url, `tenant-${index}`)
          assert.strictEqual((yield* Installation.connect(key)).state, "completed")
          const { authMethod, clientId } = yield* grantOf(key)
          assert.strictEqual(authMethod, "private_key_jwt")
          kids.push(...yield* keysAt(provider, clientId))

          const tokens = yield* AccessTokens
          const first = yield* tokens.get(key)
          const second = yield* tokens.get(key, { rejected: first.accessToken })
          assert.isAbove(second.generation, first.generation)
          yield* (yield* Connections).disconnect(key)
          yield* (yield* Housekeeping).revoke
          assert.strictEqual(provider.revocations(), 2)
        }
        assert.lengthOf(kids, 2)
        assert.strictEqual(new Set(kids).size, 2)
      }).pipe(Effect.provide(Installation.layer(MemoryStore.layer)))
    })))

  it.live("REG-13 is named by our own document where the server reads such, as is one that a version before named", () =>
    Effect.scoped(Effect.gen(function*() {
      const documents: Record<string, string> = {}
      const provider = yield* OidcProvider.make({ ...signaturesAlone, clientIdDocuments: documents })
      const resource = yield* McpResource.make(provider)
      yield* Effect.gen(function*() {
        const { fetched, origin } = yield* publishing
        const key = yield* Installation.describe(resource.url)
        const keysOf = (clientId: string) => clientId.replace("client-metadata.json", "jwks.json")
        const connect = consent(key, (clientId) => {
          for (const url of [clientId, keysOf(clientId)]) {
            documents[url] = url.replace(Installation.publicUrl.origin, origin)
          }
        }, { transport: "gateway", reauthorize: true })
        const { clientId } = yield* connect
        const keys = keysOf(clientId)
        assert.deepInclude(yield* grantOf(key), { clientId, authMethod: "private_key_jwt" })
        assert.isTrue(yield* (yield* RegistrationStore).isOnRecord(clientId))
        assert.includeMembers(fetched, [new URL(clientId).pathname, new URL(keys).pathname])
        const served = yield* Effect.promise(async () => (await fetch(documents[keys]!)).text())
        assert.notMatch(served, /"d"/)
        const junk = yield* Effect.promise(() => fetch(documents[keys]!.replace(/\/[^/]*\/jwks/, "/a.b/jwks")))
        assert.strictEqual(junk.status, 404)
        // A key of somebody else under the tag of ours.
        const foreign = yield* Effect.promise(() =>
          fetch(
            documents[keys]!.replace(/\/(.)([^/]*\/jwks)/, (_, first, rest) => `/${first === "A" ? "B" : "A"}${rest}`)
          )
        )
        assert.strictEqual(foreign.status, 404)
        // The next consent is by the same client.
        assert.strictEqual((yield* connect).clientId, clientId)

        // One that a replica of the version before registers while it is replaced: with no tag, and on no record.
        const registrations = yield* RegistrationStore
        const { issuer } = yield* grantOf(key)
        const place = { tenant: key.tenant, server: key.server, issuer: issuer!, transport: "gateway" as const }
        const untagged = clientId.replace(/\.[^./]*(?=\/client-metadata\.json$)/, "")
        assert.notStrictEqual(untagged, clientId)
        yield* registrations.put(place, {
          ...Option.getOrThrow(yield* registrations.get(place)),
          clientId: untagged
        })
        assert.isFalse(yield* registrations.isOnRecord(untagged))
        assert.strictEqual((yield* connect).clientId, untagged)
      }).pipe(Effect.provide(Installation.layer(MemoryStore.layer)))
      assert.isEmpty(provider.log.filter(({ kind }) => kind === "registration"))
    })))

  it.live("REG-13 made for an operator's client stays with its authorization server and is never taken to another", () =>
    Effect.gen(function*() {
      const servers = yield* Servers
      const key = yield* Installation.describe("https://mcp.example/mcp")
      const put = (change: object = {}, client: object = {}) =>
        Effect.map(
          servers.put(key.tenant, key.server, {
            resource: "https://mcp.example/mcp",
            issuer: "https://as.example",
            quirks: {},
            client: { clientId: "signer", authMethod: "private_key_jwt", ...client },
            ...change
          }),
          ({ server }): PublicKey | undefined => server.client?.publicKey
        )
      const first = yield* put()
      assert.strictEqual(first?.kty, "EC")
      assert.notProperty(first, "d")
      assert.deepStrictEqual(yield* put({ scopes: ["mcp:read"] }), first)
      const seen = new Set([first?.kid])
      for (const change of [{ issuer: "https://other.example" }, { resource: "https://mcp.example/other" }]) {
        seen.add((yield* put(change))?.kid)
        seen.add((yield* put())?.kid)
      }
      seen.add((yield* put({}, { clientId: "another" }))?.kid)
      assert.strictEqual(seen.size, 6)
    }).pipe(Effect.provide(Installation.layer(MemoryStore.layer))))
})
