import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Effect, Redacted } from "effect"
import { generateKeyPairSync } from "node:crypto"
import { namesOf, type Reported, reportsOf } from "./support/Archives.ts"
import * as Valetkey from "./support/Valetkey.ts"

/** A plaintext document of connections at the provider, each with credentials of its own. */
const documentOf = (
  provider: FakeProvider.FakeProvider,
  servers: ReadonlyArray<string>,
  over: Readonly<Record<string, unknown>> = {}
) => {
  const grants = servers.map((server) => ({ server, granted: provider.grant() }))
  const text = JSON.stringify({
    format: "valetkey.archive",
    version: 1,
    connections: grants.map(({ granted, server }) => ({
      server,
      tokenEndpoint: `${provider.issuer}/token`,
      clientId: "fake-client",
      refreshToken: Redacted.value(granted.refreshToken),
      ...over
    }))
  })
  return { text, tokens: grants.map(({ granted }) => granted.refreshToken) }
}

describe("importing a document", () => {
  it.live("imports the good connections of a document, and keeps nothing of those that it could not prove", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const { text, tokens } = documentOf(provider, ["a", "b", "c", "d", "e"], { redemptionPolicy: "strict" })
      provider.script("token", [
        Reply.normal,
        Reply.error("invalid_grant"),
        Reply.json(503, {}),
        Reply.processThenReset,
        Reply.error("invalid_client", 401)
      ])
      const mixed = yield* valetkey.json(["import", "-", "--format", "json"], {}, text)
      assert.deepStrictEqual([mixed.code, mixed.error.code], [1, "import_incomplete"])
      assert.deepStrictEqual(reportsOf(mixed), [
        ["a", true, undefined],
        ["b", false, "deposit_refused"],
        ["c", false, "authorization_server_unavailable"],
        ["d", false, "deposit_refused"],
        ["e", false, "client_misconfigured"]
      ])
      const messages =
        (mixed.error as unknown as { readonly connections: ReadonlyArray<{ readonly message?: string }> })
          .connections.map(({ message = "" }) => message)
      assert.include(messages[1], "refuses these credentials")
      assert.include(messages[3], "may be used up")
      assert.deepStrictEqual(yield* namesOf(valetkey), ["a"])
      assert.strictEqual(provider.requests("revocation").length, 0)
      assert.deepStrictEqual(tokens.map((token) => provider.tokenCount(token)), [1, 1, 1, 1, 1])

      // What was not redeemed is good where it came from, and can be imported once the provider is back.
      const later = yield* valetkey.run(["import", "-", "--format", "json"], {}, text)
      assert.strictEqual(later.code, 1)
      assert.match(later.stdout, /^a +failed \(connection_exists\)/m)
      assert.match(later.stdout, /^d +failed \(deposit_refused\)/m)
      assert.match(later.stdout, /^c +imported/m)
      assert.match(later.stdout, /^e +imported/m)
      assert.deepStrictEqual(yield* namesOf(valetkey), ["a", "b", "c", "e"])
    })))

  it.live("describes no client with a signing key as its secret, nor with a secret as its key", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const jwk = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" })
      Canary.register("signing_key", jwk.d!)
      const proofs = {
        private_key_jwt: { authMethod: "private_key_jwt", clientSecret: JSON.stringify({ ...jwk, alg: "ES256" }) },
        client_secret_post: { authMethod: "client_secret_post", clientSecret: Canary.makeText("client_secret") },
        client_secret_basic: { clientSecret: Canary.makeText("client_secret") }
      }
      const table = [
        ["keyed", "client_secret_basic", "private_key_jwt", undefined],
        ["secret", "private_key_jwt", "client_secret_basic", undefined],
        ["sent", "client_secret_basic", "client_secret_post", "client_secret_basic"],
        ["signs", "private_key_jwt", "private_key_jwt", "private_key_jwt"]
      ] as const
      for (const [server, described, consented, kept] of table) {
        const { text } = documentOf(provider, [server], {
          issuer: provider.issuer,
          ...proofs[consented],
          definition: { resource: provider.resource, client: { clientId: "fake-client", authMethod: described } }
        })
        const imported = yield* valetkey.json(["import", "-", "--format", "json"], {}, text)
        assert.deepStrictEqual(reportsOf(imported), [[server, true, undefined]])
        const { document } = yield* valetkey.json(["servers", "show", server])
        const client = (document["server"] as { readonly client?: { readonly authMethod: string } }).client
        assert.strictEqual(client?.authMethod, kept, server)
      }
    })))

  it.live("calls an import uncertain, and keeps it, when an answer of the provider is lost and no other proves it", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const { text, tokens } = documentOf(provider, ["a", "b"])
      provider.script("token", [
        Reply.processThenReset,
        Reply.json(503, {}),
        Reply.processThenReset,
        Reply.error("invalid_client", 401)
      ])
      const imported = yield* valetkey.json(["import", "-", "--format", "json"], {}, text)
      assert.deepStrictEqual([imported.code, imported.error.code], [1, "import_incomplete"])
      const { connections } = imported.error as unknown as { readonly connections: ReadonlyArray<Reported> }
      assert.deepStrictEqual(
        connections.map(({ code, imported, server, uncertain }) => [server, imported, code, uncertain]),
        [["a", false, "deposit_refused", true], ["b", false, "deposit_refused", true]]
      )
      // Whoever holds the good token now, it is neither revoked nor lost with its row.
      assert.deepStrictEqual(yield* namesOf(valetkey), ["a", "b"])
      assert.strictEqual(provider.requests("revocation").length, 0)
      assert.deepStrictEqual(tokens.map((token) => provider.tokenCount(token)), [2, 2])
    })))
})
