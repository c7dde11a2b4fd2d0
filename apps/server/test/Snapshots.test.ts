import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { ConnectionKey } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { Flows } from "@valetkey/domain/Flows"
import { outcomeOf } from "@valetkey/domain/RevocationReceipt"
import { Revocations } from "@valetkey/domain/Revocations"
import { ServerSlug } from "@valetkey/domain/Server"
import { Servers } from "@valetkey/domain/Servers"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { SqliteDatabase } from "@valetkey/store-sqlite/SqliteDatabase"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect, Layer, Redacted } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Composition from "../src/Composition.ts"
import * as LocalFiles from "../src/LocalFiles.ts"
import * as Settings from "../src/Settings.ts"

const key = new ConnectionKey({
  tenant: TenantId.make("local"),
  subject: SubjectId.make("local"),
  server: ServerSlug.make("mcp")
})

const newHome = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "vks-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** The local profile as it is shipped, without its listeners. */
const installation = (home: string) =>
  Layer.unwrap(Effect.gen(function*() {
    const settings = yield* Settings.load({ VALETKEY_HOME: join(home, "home") })
    if (settings.profile !== "local") return yield* Effect.die("not the local profile")
    const instanceId = yield* LocalFiles.prepare(settings.home, settings)
    return Composition.layerLocal(settings, { instanceId, bootToken: LocalFiles.newToken() })
  }))

/** What may become of a server while people depend on it. */
const edits = {
  "led elsewhere": (elsewhere: FakeProvider.FakeProvider) =>
    Effect.flatMap(Servers, (servers) =>
      servers.put(key.tenant, key.server, {
        resource: elsewhere.resource,
        issuer: elsewhere.issuer,
        endpoints: {
          authorization: `${elsewhere.issuer}/authorize`,
          token: `${elsewhere.issuer}/token`,
          revocation: `${elsewhere.issuer}/revoke`
        },
        client: {
          clientId: "client-of-somebody",
          authMethod: "client_secret_post",
          clientSecret: Redacted.make("theirs")
        },
        scopes: ["everything"],
        quirks: { resourceParameter: false }
      })),
  removed: () => Effect.flatMap(Servers, (servers) => servers.remove(key.tenant, key.server))
}

const begin = Effect.fnUntraced(function*(resource: string) {
  yield* (yield* Servers).put(key.tenant, key.server, { resource, quirks: {} })
  const started = yield* (yield* Flows).start(key)
  return started._tag === "Started" ? started : yield* Effect.die(started._tag)
})

/** Consents as a person does and returns the settled flow. */
const finish = Effect.fnUntraced(function*({ authorizationUrl, flow }: Effect.Success<ReturnType<typeof begin>>) {
  yield* UserAgent.make().authorize(Redacted.value(authorizationUrl))
  const { id, key: { subject, tenant } } = flow
  return yield* (yield* Flows).wait({ id, tenant, subject }, "10 seconds")
})

for (const [change, edit] of Object.entries(edits)) {
  describe(`a server that is ${change}`, () => {
    it.live("FLOW-38 LIFE-07 has no part in a flow that began before: what was frozen then is asked, and nobody else", () =>
      Effect.scoped(Effect.gen(function*() {
        const [provider, elsewhere] = [yield* FakeProvider.make(), yield* FakeProvider.make()]
        yield* Effect.gen(function*() {
          const started = yield* begin(provider.resource)
          yield* edit(elsewhere)
          assert.strictEqual((yield* finish(started)).state, "completed")
          assert.lengthOf(provider.requests("token"), 1)
          assert.isEmpty(elsewhere.log)
          const { grant } = yield* (yield* Connections).get(key)
          assert.deepInclude(grant, { issuer: provider.issuer, tokenEndpoint: `${provider.issuer}/token` })
        }).pipe(Effect.provide(installation(yield* newHome)))
      })))

    it.live("LIFE-07 leaves refresh and revocation of its connections to the grant of their consent, after a restart too", () =>
      Effect.scoped(Effect.gen(function*() {
        const [provider, elsewhere, home] = [yield* FakeProvider.make(), yield* FakeProvider.make(), yield* newHome]
        const first = yield* Effect.gen(function*() {
          yield* finish(yield* begin(provider.resource))
          const token = yield* (yield* AccessTokens).get(key)
          yield* edit(elsewhere)
          return yield* (yield* AccessTokens).get(key, { rejected: token.accessToken })
        }).pipe(Effect.provide(installation(home)))
        assert.strictEqual(first.generation, 2)
        assert.lengthOf(provider.requests("token"), 2)
        yield* Effect.gen(function*() {
          // As if the token were no answer to a refusal: another one may follow at once.
          yield* (yield* SqliteDatabase).write("test", (session) => session.run("UPDATE connections SET forced = 0"))
          const token = yield* (yield* AccessTokens).get(key, { rejected: first.accessToken })
          assert.strictEqual(token.generation, 3)
          assert.isTrue(provider.isActive(token.accessToken))
          yield* (yield* Connections).disconnect(key)
          const revocations = yield* Revocations
          const owner = { tenant: key.tenant, subject: key.subject }
          const [receipt] = yield* revocations.list({ ...owner, server: undefined, after: undefined, limit: 1 })
          const settled = yield* revocations.wait({ ...owner, id: receipt!.id }, "30 seconds")
          assert.strictEqual(outcomeOf(settled), "confirmed")
        }).pipe(Effect.provide(installation(home)))
        assert.lengthOf(provider.requests("token"), 3)
        assert.isNotEmpty(provider.requests("revocation"))
        assert.isEmpty(elsewhere.log)
      })))
  })
}
