import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Flows } from "@valetkey/domain/Flows"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import type { Server } from "@valetkey/domain/Server"
import { Servers } from "@valetkey/domain/Servers"
import * as Canary from "@valetkey/testing/Canary"
import { Deferred, Effect, Fiber, Latch, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, layer, Provider, refuse } from "./World.ts"

/** Describes the server as one whose client asks by its own authority. */
const describeServer = Effect.fnUntraced(function*(
  { server, tenant }: { readonly server: Server["slug"]; readonly tenant: Server["tenant"] },
  changes: { readonly clientId?: string; readonly scopes?: ReadonlyArray<string> } = {}
) {
  yield* (yield* Servers).put(tenant, server, {
    resource: "https://mcp.example/mcp",
    scopes: changes.scopes ?? ["read"],
    grant: { type: "client_credentials" },
    client: {
      clientId: changes.clientId ?? "robot",
      authMethod: "client_secret_basic",
      clientSecret: Canary.make("client_secret")
    },
    quirks: {}
  })
})

const connected = Effect.gen(function*() {
  const key = yield* keyOf("mcp")
  yield* describeServer(key)
  const flows = yield* Flows
  const tokens = yield* AccessTokens
  const provider = yield* Provider
  const stored = Effect.map((yield* ConnectionStore).get(key), Option.getOrThrow)
  const value = Effect.map(tokens.get(key), ({ accessToken }) => Redacted.value(accessToken))
  const started = yield* flows.start(key)
  assert.strictEqual(started._tag, "AlreadyConnected")
  return { key, flows, tokens, provider, stored, value }
})

describe("a server whose tokens need no person", () => {
  it.effect("EXT-05 a thousand callers share one request, and the token is stored without a refresh token", () =>
    Effect.gen(function*() {
      const { provider, stored, value } = yield* connected
      assert.lengthOf(provider.obtained, 0)
      const [asked, gate] = [yield* Latch.make(), yield* Deferred.make<void>()]
      provider.obtain = (issue) => Effect.andThen(asked.open, Effect.andThen(Deferred.await(gate), issue))
      const callers = yield* Effect.forEach(
        Array.from({ length: 1000 }),
        () => Effect.forkChild(value, { startImmediately: true })
      )
      yield* asked.await
      yield* Deferred.succeed(gate, undefined)
      assert.deepStrictEqual([...new Set(yield* Effect.forEach(callers, Fiber.join))], [provider.issued[0]])
      assert.strictEqual(yield* value, provider.issued[0])
      assert.lengthOf(provider.obtained, 1)
      assert.strictEqual(provider.redemptions.size, 0)
      const { credentials, grant } = yield* stored
      assert.isUndefined(credentials.refreshToken)
      assert.deepStrictEqual(grant.unattended, { grant: { type: "client_credentials" }, scopes: ["read"] })
      assert.strictEqual(grant.resource, "https://mcp.example/mcp")
    }).pipe(Effect.provide(layer)))

  it.effect("EXT-05 asks again when the token ends and when the resource refused it, and is joined meanwhile", () =>
    Effect.gen(function*() {
      const { key, provider, tokens, value } = yield* connected
      assert.strictEqual(yield* value, provider.issued[0])
      yield* TestClock.adjust("2 hours")
      assert.strictEqual(yield* value, provider.issued[1])
      const second = yield* tokens.get(key)
      const both = yield* Effect.all(
        [tokens.get(key, { rejected: second.accessToken }), tokens.get(key, { rejected: second.accessToken })],
        { concurrency: 2 }
      )
      for (const { accessToken } of both) assert.strictEqual(Redacted.value(accessToken), provider.issued[2])
      assert.lengthOf(provider.obtained, 3)
    }).pipe(Effect.provide(layer)))

  it.effect("keeps a token of unknown lifetime until it is refused", () =>
    Effect.gen(function*() {
      const { key, provider, tokens, value } = yield* connected
      provider.answer = ({ expiresAt: _, ...credentials }) => credentials
      const first = yield* tokens.get(key)
      yield* TestClock.adjust("1 day")
      assert.strictEqual(yield* value, provider.issued[0])
      yield* tokens.get(key, { rejected: first.accessToken })
      yield* TestClock.adjust("1 day")
      assert.strictEqual(yield* value, provider.issued[1])
    }).pipe(Effect.provide(layer)))

  it.effect("is never told to sign in: a refused client is its operator's affair", () =>
    Effect.gen(function*() {
      const { key, provider, stored, tokens, value } = yield* connected
      for (
        const reason of [
          { _tag: "Configuration", error: "invalid_client" },
          { _tag: "Configuration", error: "unauthorized_client" },
          { _tag: "Terminal", error: "invalid_grant" }
        ] as const
      ) {
        provider.obtain = () => refuse(reason)
        assert.strictEqual((yield* Effect.flip(tokens.get(key))).code, "client_misconfigured")
        assert.deepStrictEqual((yield* stored).status, { _tag: "active" })
        // Nobody asks again before the operator had a minute.
        assert.strictEqual((yield* Effect.flip(tokens.get(key))).code, "authorization_server_unavailable")
        yield* TestClock.adjust("61 seconds")
      }
      assert.lengthOf(provider.obtained, 3)
      provider.obtain = (issue) => issue
      assert.strictEqual(yield* value, provider.issued[0])
    }).pipe(Effect.provide(layer)))

  it.effect("asks again, at growing pauses, however often it is refused by what nobody understands", () =>
    Effect.gen(function*() {
      const { key, provider, stored, tokens, value } = yield* connected
      provider.obtain = () => refuse({ _tag: "Transient", unclear: true })
      for (let call = 0; call < 8; call++) {
        const code = call < 4 ? "authorization_server_unavailable" : "client_misconfigured"
        assert.strictEqual((yield* Effect.flip(tokens.get(key))).code, code)
        yield* TestClock.adjust("15 minutes")
      }
      assert.deepStrictEqual((yield* stored).status, { _tag: "active" })
      assert.lengthOf(provider.obtained, 8)
      provider.obtain = (issue) => issue
      assert.strictEqual(yield* value, provider.issued[0])
    }).pipe(Effect.provide(layer)))

  it.effect("asks again after any number of requests of unknown outcome", () =>
    Effect.gen(function*() {
      const { provider, stored, value } = yield* connected
      let unanswered = 4
      provider.obtain = (issue) => unanswered-- > 0 ? refuse({ _tag: "UnknownOutcome" }) : issue
      const caller = yield* Effect.forkChild(value)
      for (let second = 0; second < 10; second++) yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(caller), provider.issued[0])
      assert.deepStrictEqual((yield* stored).status, { _tag: "active" })
    }).pipe(Effect.provide(layer)))

  it.effect("keeps its connection as often as it is connected, and makes another for more scopes or another client", () =>
    Effect.gen(function*() {
      const { flows, key, provider, stored, value } = yield* connected
      yield* value
      const { epoch } = yield* stored
      const starts = [{}, { reauthorize: true }, { scopes: ["read"] }, { scopes: [] }]
      for (const options of starts) yield* flows.start(key, options)
      assert.strictEqual((yield* stored).epoch, epoch)
      assert.strictEqual(yield* value, provider.issued[0])

      yield* Effect.all(
        Array.from({ length: 10 }, () => flows.start(key, { scopes: ["read", "write"] })),
        { concurrency: "unbounded" }
      )
      assert.strictEqual((yield* stored).generation, 3)
      assert.strictEqual(yield* value, provider.issued[1])
      assert.deepStrictEqual(provider.obtained.at(-1)?.unattended?.scopes, ["read", "write"])

      yield* describeServer(key, { clientId: "other" })
      yield* flows.start(key)
      assert.strictEqual(yield* value, provider.issued[2])
      assert.strictEqual(provider.obtained.at(-1)?.clientId, "other")
    }).pipe(Effect.provide(layer)))

  it.effect("takes the place of a person's connection when its server is described so", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      yield* connect(key)
      yield* describeServer(key)
      yield* (yield* Flows).start(key)
      const { obtained, issued, revoked } = yield* Provider
      const { accessToken } = yield* (yield* AccessTokens).get(key)
      assert.strictEqual(Redacted.value(accessToken), issued[1])
      assert.lengthOf(obtained, 1)
      // Nobody could end the person's grant from now on: both of its tokens go, and not that of the client.
      yield* (yield* Housekeeping).revoke
      assert.lengthOf(revoked, 2)
      assert.include(revoked, issued[0])
      yield* describeServer(key, { clientId: "other" })
      yield* (yield* Flows).start(key)
      yield* (yield* Housekeeping).revoke
      assert.lengthOf(revoked, 2)
    }).pipe(Effect.provide(layer)))

  it.effect("needs a client with a secret", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      yield* (yield* Servers).put(key.tenant, key.server, {
        resource: "https://mcp.example/mcp",
        grant: { type: "client_credentials" },
        quirks: {}
      })
      assert.strictEqual((yield* Effect.flip((yield* Flows).start(key))).code, "client_secret_missing")
      assert.isTrue(Option.isNone(yield* (yield* ConnectionStore).get(key)))
    }).pipe(Effect.provide(layer)))
})
