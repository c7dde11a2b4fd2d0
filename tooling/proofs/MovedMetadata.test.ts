import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { Connections } from "@valetkey/domain/Connections"
import { Flows } from "@valetkey/domain/Flows"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { Servers } from "@valetkey/domain/Servers"
import * as MemoryStore from "@valetkey/store-memory/MemoryStore"
import * as Canary from "@valetkey/testing/Canary"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Effect, Redacted } from "effect"
import * as Installation from "./Installation.ts"

/** A connection with a confidential client at a provider whose metadata somebody else writes from now on. */
const hijacked = Effect.gen(function*() {
  const clientSecret = Canary.make("client_secret")
  const provider = yield* FakeProvider.make({
    clients: [{ clientId: "confidential", secrets: [Redacted.value(clientSecret)] }]
  })
  const thief = yield* FakeProvider.make()
  const key = yield* Installation.describe(provider.resource)
  yield* (yield* Servers).put(key.tenant, key.server, {
    resource: provider.resource,
    client: { clientId: "confidential", authMethod: "client_secret_basic", clientSecret },
    quirks: {}
  })
  assert.strictEqual((yield* Installation.connect(key)).state, "completed")
  provider.always(
    "serverMetadata",
    Reply.patch({
      token_endpoint: `${thief.issuer}/token`,
      revocation_endpoint: `${thief.issuer}/revoke`,
      registration_endpoint: `${thief.issuer}/register`
    })
  )
  return { key, provider, thief }
})

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
      assert.deepInclude(refused, { _tag: "DiscoveryError", code: "token_endpoint_moved" })
      assert.strictEqual((yield* tokens.get(key)).generation, next.generation)

      yield* (yield* Connections).disconnect(key)
      yield* (yield* Housekeeping).revoke
      assert.isFalse(provider.isActive(Redacted.value(next.accessToken)))
      assert.deepStrictEqual(thief.log, [])
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
