import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import type { Connection } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Flows } from "@valetkey/domain/Flows"
import { ServerSlug, type UnattendedGrant, WorkloadName } from "@valetkey/domain/Server"
import { Servers } from "@valetkey/domain/Servers"
import { WorkloadTokenMissing, WorkloadTokens } from "@valetkey/domain/WorkloadTokens"
import * as Canary from "@valetkey/testing/Canary"
import { Effect, Fiber, Layer, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, layer, Provider, refuse } from "./World.ts"

const identity = ServerSlug.make("idp")
const workload = WorkloadName.make("cluster")

const describeServer = Effect.fnUntraced(function*({ server, tenant }: Connection["key"], grant: UnattendedGrant) {
  yield* (yield* Servers).put(tenant, server, {
    resource: "https://mcp.example/mcp",
    grant,
    client: { clientId: "robot", authMethod: "client_secret_basic", clientSecret: Canary.make("client_secret") },
    quirks: {}
  })
})

/** A person who is signed in at an identity provider, and a server that takes its word. */
const signedIn = Effect.gen(function*() {
  const idp = yield* keyOf(identity)
  yield* (yield* Servers).put(idp.tenant, idp.server, {
    resource: "https://idp.example",
    scopes: ["openid"],
    tokens: "identity",
    quirks: {}
  })
  yield* connect(idp)
  const mcp = yield* keyOf("mcp")
  yield* describeServer(mcp, { type: "identity_assertion", identity })
  const started = yield* (yield* Flows).start(mcp)
  assert.strictEqual(started._tag, "AlreadyConnected")
  const provider = yield* Provider
  const tokens = yield* AccessTokens
  const connections = yield* ConnectionStore
  const shown = () =>
    provider.authorities.map((authority) =>
      authority._tag === "Identity" ? Redacted.value(authority.idToken) : authority._tag
    )
  return { idp, mcp, provider, tokens, connections, shown }
})

const statusOf = (connections: ConnectionStore["Service"], key: Connection["key"]) =>
  Effect.map(connections.get(key), (found) => Option.getOrThrow(found).status._tag)

describe("a server that takes an identity provider's word", () => {
  it.effect("EXT-08 gets its tokens for the ID token of the same subject, which is renewed when its time is over", () =>
    Effect.gen(function*() {
      const { mcp, provider, shown, tokens } = yield* signedIn
      const [idToken] = provider.issued
      assert.strictEqual(Redacted.value((yield* tokens.get(mcp)).accessToken), provider.issued[1])
      yield* tokens.get(mcp)
      assert.deepStrictEqual(shown(), [idToken])

      yield* TestClock.adjust("2 hours")
      const again = yield* Effect.all([tokens.get(mcp), tokens.get(mcp)], { concurrency: 2 })
      // The identity provider first, by its own refresh, and then the server.
      const [, , renewed, token] = provider.issued
      for (const { accessToken } of again) assert.strictEqual(Redacted.value(accessToken), token)
      assert.deepStrictEqual(shown(), [idToken, renewed])
      assert.lengthOf([...provider.redemptions.keys()].filter((one) => one.includes("refresh")), 1)
    }).pipe(Effect.provide(layer)))

  it.effect("EXT-08 an ID token is handed to nobody", () =>
    Effect.gen(function*() {
      const { idp, tokens } = yield* signedIn
      assert.strictEqual((yield* Effect.flip(tokens.get(idp))).code, "token_not_handed_out")
      // Nor when its server is described anew, as any other.
      yield* keyOf(identity)
      assert.strictEqual((yield* Effect.flip(tokens.get(idp))).code, "token_not_handed_out")
    }).pipe(Effect.provide(layer)))

  it.effect("EXT-08 shows no access token as an ID token, and nobody's but the subject's own", () =>
    Effect.gen(function*() {
      const { idp, mcp, provider, tokens } = yield* signedIn
      const bob = yield* keyOf("mcp", { subject: "bob" })
      yield* describeServer(bob, { type: "identity_assertion", identity })
      yield* (yield* Flows).start(bob)
      assert.strictEqual((yield* Effect.flip(tokens.get(bob))).code, "identity_required")
      yield* keyOf(idp.server)
      yield* connect(idp)
      assert.strictEqual((yield* Effect.flip(tokens.get(mcp))).code, "identity_required")
      assert.lengthOf(provider.authorities, 0)
    }).pipe(Effect.provide(layer)))

  it.effect("says that the person must sign in there, and keeps its own connection", () =>
    Effect.gen(function*() {
      const { connections, idp, mcp, provider, tokens } = yield* signedIn
      provider.obtain = () => refuse({ _tag: "Terminal", error: "invalid_grant" })
      assert.strictEqual((yield* Effect.flip(tokens.get(mcp))).code, "identity_required")
      assert.strictEqual(yield* statusOf(connections, mcp), "active")
      const afterSecond = <A, E>(effect: Effect.Effect<A, E>) =>
        Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
          yield* TestClock.adjust("1 second")
          return yield* Fiber.join(fiber)
        })
      assert.strictEqual((yield* afterSecond(Effect.flip(tokens.get(mcp)))).code, "identity_required")
      provider.obtain = (issue) => issue
      yield* connect(idp)
      yield* afterSecond(tokens.get(mcp))

      yield* TestClock.adjust("2 hours")
      provider.refresh = () => refuse({ _tag: "Terminal", error: "invalid_grant" })
      assert.strictEqual((yield* Effect.flip(tokens.get(mcp))).code, "identity_required")
      assert.deepStrictEqual([yield* statusOf(connections, mcp), yield* statusOf(connections, idp)], [
        "active",
        "needs_reauth"
      ])
      yield* connect(idp)
      yield* tokens.get(mcp)
    }).pipe(Effect.provide(layer)))

  it.effect("takes no endpoints that only its description vouches for", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      yield* (yield* Servers).put(key.tenant, key.server, {
        resource: "https://mcp.example/mcp",
        issuer: "https://as.example",
        endpoints: { token: "https://elsewhere.example/token" },
        grant: { type: "workload_assertion", workload },
        client: { clientId: "robot", authMethod: "none" },
        quirks: {}
      })
      assert.strictEqual((yield* Effect.flip((yield* Flows).start(key))).code, "metadata_invalid")
    }).pipe(Effect.provide(layer)))
})

describe("a server that takes the platform's word", () => {
  const lent = new Map([["acme", Canary.make("workload_token")]])
  const layerWorkloads = layer.pipe(Layer.provide(
    Layer.succeed(WorkloadTokens)({
      read: (tenant) => {
        const token = lent.get(tenant)
        return token === undefined ? Effect.fail(new WorkloadTokenMissing({})) : Effect.succeed(token)
      }
    })
  ))

  it.effect("gets its tokens for the token of the platform, as it is each time, and for its tenant alone", () =>
    Effect.gen(function*() {
      const [key, other] = [yield* keyOf("mcp"), yield* keyOf("mcp", { tenant: "other" })]
      const provider = yield* Provider
      const tokens = yield* AccessTokens
      for (const one of [key, other]) {
        yield* describeServer(one, { type: "workload_assertion", workload })
        yield* (yield* Flows).start(one)
      }
      yield* tokens.get(key)
      const next = Canary.make("workload_token")
      const [first] = [...lent.values()]
      lent.set("acme", next)
      yield* TestClock.adjust("2 hours")
      yield* tokens.get(key)
      const shown = provider.authorities.map((authority) =>
        authority._tag === "Workload" ? Redacted.value(authority.token) : authority._tag
      )
      assert.deepStrictEqual(shown, [first!, next].map(Redacted.value))
      assert.strictEqual((yield* Effect.flip(tokens.get(other))).code, "workload_token_missing")
      assert.lengthOf(provider.authorities, 2)
    }).pipe(Effect.provide(layerWorkloads)))
})
