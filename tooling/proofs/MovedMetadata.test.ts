import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { Connections } from "@valetkey/domain/Connections"
import { Flows } from "@valetkey/domain/Flows"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import type { Server } from "@valetkey/domain/Server"
import { Servers } from "@valetkey/domain/Servers"
import * as MemoryStore from "@valetkey/store-memory/MemoryStore"
import * as Canary from "@valetkey/testing/Canary"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Effect, Redacted, Result } from "effect"
import * as Installation from "./Installation.ts"

/** What somebody else may write from now on: all of it together, or one piece alone. */
const forgeries = {
  "every endpoint": (thief: string) => ({
    token_endpoint: `${thief}/token`,
    revocation_endpoint: `${thief}/revoke`,
    registration_endpoint: `${thief}/register`
  }),
  "the revocation endpoint": (thief: string) => ({ revocation_endpoint: `${thief}/revoke` }),
  "the introspection endpoint": (thief: string) => ({ introspection_endpoint: `${thief}/introspect` }),
  "the device authorization endpoint": (thief: string) => ({ device_authorization_endpoint: `${thief}/device` })
}

/** A connection with a confidential client at a provider whose metadata somebody else writes from now on. */
const hijack = Effect.fnUntraced(function*(forge: (thief: string) => Readonly<Record<string, string>>) {
  const clientSecret = Canary.make("client_secret")
  const provider = yield* FakeProvider.make({
    clients: [{ clientId: "confidential", secrets: [Redacted.value(clientSecret)] }]
  })
  const thief = yield* FakeProvider.make()
  const key = yield* Installation.describe(provider.resource)
  const describe = Effect.fnUntraced(function*(quirks: Server["quirks"]) {
    yield* (yield* Servers).put(key.tenant, key.server, {
      resource: provider.resource,
      client: { clientId: "confidential", authMethod: "client_secret_basic", clientSecret },
      quirks
    })
  })
  yield* describe({})
  assert.strictEqual((yield* Installation.connect(key)).state, "completed")
  yield* describe({ introspectExpiry: true })
  provider.always("serverMetadata", Reply.patch(forge(thief.issuer)))
  return { key, provider, thief }
})

const hijacked = hijack(forgeries["every endpoint"])

describe("metadata that names the endpoints of another", () => {
  it.live("DISC-10 REG-11 gets no refresh, no revocation, no code and no secret sent there", () =>
    Effect.scoped(Effect.gen(function*() {
      const { key, provider, thief } = yield* hijacked
      const tokens = yield* AccessTokens
      const flows = yield* Flows
      const { accessToken } = yield* tokens.get(key)
      const next = yield* tokens.get(key, { rejected: accessToken })
      assert.isTrue(provider.isActive(Redacted.value(next.accessToken)))

      const refused = yield* Effect.flip(flows.start(key, { reauthorize: true }))
      assert.deepInclude(refused, { _tag: "DiscoveryError", code: "authorization_server_moved" })
      assert.strictEqual((yield* tokens.get(key)).generation, next.generation)

      yield* (yield* Connections).disconnect(key)
      yield* (yield* Housekeeping).revoke
      assert.isFalse(provider.isActive(Redacted.value(next.accessToken)))
      assert.deepStrictEqual(thief.log, [])
    })).pipe(Effect.provide(Installation.layer(MemoryStore.layer))))

  for (const [what, forge] of Object.entries(forgeries)) {
    it.live(`DISC-10 REG-11 sends no secret where ${what} leads, whichever way a flow takes`, () =>
      Effect.scoped(Effect.gen(function*() {
        const { key, provider, thief } = yield* hijack(forge)
        const flows = yield* Flows
        for (const transport of ["loopback", "gateway", "device"] as const) {
          const started = yield* Effect.result(
            flows.start(key, { transport, reauthorize: true, onConflict: "supersede" })
          )
          if (what !== "the device authorization endpoint" || transport === "device") {
            assert.deepInclude(Result.getOrThrow(Result.flip(started)), { code: "authorization_server_moved" })
          }
        }
        yield* (yield* Connections).disconnect(key)
        yield* (yield* Housekeeping).revoke
        assert.isTrue(provider.requests("revocation").length > 0)
        assert.deepStrictEqual(thief.log, [])
      })).pipe(Effect.provide(Installation.layer(MemoryStore.layer))))
  }

  it.live("BIND-08 DISC-11 gives a secret that was registered by hand to no other issuer than the recorded one", () =>
    Effect.scoped(Effect.gen(function*() {
      const { key, provider, thief } = yield* hijack(() => ({}))
      provider.always("resourceMetadata", Reply.patch({ authorization_servers: [thief.issuer, provider.issuer] }))
      const flows = yield* Flows
      const refused = yield* Effect.flip(flows.start(key, { reauthorize: true }))
      assert.deepInclude(refused, { _tag: "DiscoveryError", code: "authorization_server_moved" })
      assert.isEmpty([...thief.requests("token"), ...thief.requests("registration")])
    })).pipe(Effect.provide(Installation.layer(MemoryStore.layer))))

  it.live("is believed once a person gave up the old connection, or an operator named the endpoints", () =>
    Effect.scoped(Effect.gen(function*() {
      const { key, provider } = yield* hijacked
      const flows = yield* Flows
      const servers = yield* Servers
      yield* servers.put(key.tenant, key.server, {
        resource: provider.resource,
        endpoints: { authorization: `${provider.issuer}/authorize`, token: `${provider.issuer}/token` },
        client: { clientId: "confidential", authMethod: "none" },
        quirks: {}
      })
      const named = yield* flows.start(key, { reauthorize: true })
      if (named._tag !== "Started") return assert.fail(named._tag)
      yield* flows.cancel({ id: named.flow.id, tenant: key.tenant, subject: key.subject })

      yield* servers.put(key.tenant, key.server, { resource: provider.resource, quirks: {} })
      yield* (yield* Connections).disconnect(key)
      assert.strictEqual((yield* flows.start(key))._tag, "Started")
    })).pipe(Effect.provide(Installation.layer(MemoryStore.layer))))

  it.live("DISC-19 is asked for at every start and kept nowhere: what one tenant is told changes nothing for another", () =>
    Effect.scoped(Effect.gen(function*() {
      const { key, provider, thief } = yield* hijacked
      const flows = yield* Flows
      const asked = provider.requests("serverMetadata").length
      const other = yield* Installation.describe(provider.resource, "another-tenant")
      const theirs = yield* flows.start(other)
      assert.strictEqual(theirs._tag, "Started")
      assert.strictEqual(provider.requests("serverMetadata").length, asked + 1)
      assert.isAbove(thief.requests("registration").length, 0)
      const tokens = yield* AccessTokens
      const { accessToken } = yield* tokens.get(key)
      const next = yield* tokens.get(key, { rejected: accessToken })
      assert.isTrue(provider.isActive(Redacted.value(next.accessToken)))
      assert.isEmpty(thief.requests("token"))

      provider.always("serverMetadata", Reply.raw({ status: 503 }))
      assert.strictEqual(
        (yield* Effect.flip(flows.start(other, { onConflict: "supersede" })))._tag,
        "DiscoveryError"
      )
      provider.always("serverMetadata", Reply.normal)
      assert.strictEqual((yield* flows.start(other, { onConflict: "supersede" }))._tag, "Started")
    })).pipe(Effect.provide(Installation.layer(MemoryStore.layer))))
})
