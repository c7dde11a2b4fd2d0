import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { type Connection, Grant } from "@valetkey/domain/Connection"
import { Connections, type DepositCondition } from "@valetkey/domain/Connections"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { notYet } from "@valetkey/domain/Credentials"
import { connectionTopic, Signals } from "@valetkey/domain/Signals"
import * as Canary from "@valetkey/testing/Canary"
import { DateTime, Effect, Option, Redacted, Schema } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, layer, Provider, refuse, Vault } from "./World.ts"

const grant: Grant = {
  issuer: "https://as.example",
  tokenEndpoint: "https://as.example/token",
  clientId: "by-hand",
  authMethod: "none",
  redemptionPolicy: "strict"
}

const deposit = (accessToken: string) =>
  Effect.map(DateTime.now, (issuedAt) => ({
    grant,
    clientSecret: Redacted.make("client secret"),
    credentials: {
      accessToken: Redacted.make(accessToken),
      tokenType: "Bearer",
      issuedAt,
      expiresAt: DateTime.add(issuedAt, { hours: 1 })
    }
  }))

/** Compiles only while a stored token endpoint is text, never null or absent. */
const tokenEndpointOf = (connection: Connection): string => connection.grant.tokenEndpoint

describe("Connections.deposit", () => {
  it.effect("creates a connection that hands out its token, and replaces the one that is there", () =>
    Effect.gen(function*() {
      const [connections, tokens] = [yield* Connections, yield* AccessTokens]
      const key = yield* keyOf("mcp")
      assert.isTrue(yield* connections.deposit(key, yield* deposit("first")))
      assert.isFalse(yield* connections.deposit(key, yield* deposit("second")))
      const token = yield* tokens.get(key)
      assert.deepStrictEqual([Redacted.value(token.accessToken), token.generation], ["second", 2])
    }).pipe(Effect.provide(layer)))

  it.effect("of a refresh token alone redeems it once, although its provider says of no token how long it lives", () =>
    Effect.gen(function*() {
      const [connections, provider, tokens] = [yield* Connections, yield* Provider, yield* AccessTokens]
      const key = yield* keyOf("mcp")
      yield* TestClock.adjust("3 hours")
      provider.answer = (credentials) => ({ ...credentials, expiresAt: undefined })
      yield* connections.deposit(key, {
        grant,
        credentials: {
          accessToken: Redacted.make(""),
          refreshToken: Canary.make("refresh_token"),
          tokenType: "Bearer",
          issuedAt: yield* DateTime.now,
          expiresAt: notYet
        }
      })
      for (let call = 0; call < 3; call++) {
        const token = yield* tokens.get(key)
        assert.deepStrictEqual([Redacted.value(token.accessToken), token.expiresAt], [provider.issued[0], undefined])
        yield* TestClock.adjust("1 hour")
      }
    }).pipe(Effect.provide(layer)))

  it.effect("never hands out an access token that is empty, whatever its times say: the refresh decides", () =>
    Effect.gen(function*() {
      const [connections, provider, tokens] = [yield* Connections, yield* Provider, yield* AccessTokens]
      const key = yield* keyOf("mcp")
      const { credentials, grant } = yield* deposit("")
      yield* connections.deposit(key, {
        grant,
        credentials: { ...credentials, refreshToken: Canary.make("refresh_token") }
      })
      const honest = provider.refresh
      provider.refresh = () => refuse({ _tag: "Transient" })
      for (const demand of [{}, { minValidity: "1 minute" }, { rejected: Redacted.make("another") }] as const) {
        assert.strictEqual((yield* Effect.flip(tokens.get(key, demand))).code, "authorization_server_unavailable")
        yield* TestClock.adjust("3 seconds")
      }
      provider.refresh = honest
      assert.strictEqual(Redacted.value((yield* tokens.get(key)).accessToken), provider.issued[0])
    }).pipe(Effect.provide(layer)))

  it.effect("S3.11 keeps a token endpoint with every connection", () =>
    Effect.gen(function*() {
      const connections = yield* Connections
      const key = yield* keyOf("mcp")
      yield* connections.deposit(key, yield* deposit("first"))
      assert.strictEqual(tokenEndpointOf(yield* connections.get(key)), grant.tokenEndpoint)
      const { tokenEndpoint: _, ...without } = grant
      assert.deepStrictEqual([grant, without, { ...grant, tokenEndpoint: null }].map(Schema.is(Grant)), [
        true,
        false,
        false
      ])
    }).pipe(Effect.provide(layer)))

  it.effect("API-23 overwrites only what its caller means", () =>
    Effect.gen(function*() {
      const connections = yield* Connections
      const key = yield* keyOf("mcp")
      const put = (condition: DepositCondition) =>
        Effect.flatMap(deposit("next"), (one) => connections.deposit(key, one, condition))
      const refused = (condition: DepositCondition) => Effect.map(Effect.flip(put(condition)), ({ code }) => code)
      const at = (generation: number): DepositCondition => ({ _tag: "Generation", generation })
      assert.strictEqual(yield* refused(at(0)), "generation_mismatch")
      assert.isTrue(yield* put({ _tag: "Absent" }))
      assert.strictEqual(yield* refused({ _tag: "Absent" }), "connection_exists")
      assert.isFalse(yield* put(at(1)))
      assert.strictEqual(yield* refused(at(1)), "generation_mismatch")
      assert.strictEqual((yield* connections.get(key)).generation, 2)
      yield* connections.disconnect(key)
      assert.strictEqual(yield* refused(at(2)), "generation_mismatch")
      yield* put({ _tag: "Absent" })
      assert.strictEqual((yield* connections.get(key)).generation, 3)
    }).pipe(Effect.provide(layer)))

  it.effect("I4 seals again when a refresh was faster", () =>
    Effect.gen(function*() {
      const [connections, store, tokens] = [yield* Connections, yield* ConnectionStore, yield* AccessTokens]
      const key = yield* keyOf("mcp")
      yield* connect(key)
      const { deposit: write } = store
      let raced = false
      Object.assign(store, {
        deposit: (...input: Parameters<typeof write>) =>
          Effect.gen(function*() {
            const { credentials, epoch, generation } = Option.getOrThrow(yield* store.get(key))
            if (!raced) yield* store.commit(key, { generation, epoch, credentials, resultId: "faster" })
            raced = true
            return yield* write(...input)
          })
      })
      yield* connections.deposit(key, yield* deposit("deposited"))
      const token = yield* tokens.get(key)
      assert.deepStrictEqual([Redacted.value(token.accessToken), token.generation], ["deposited", 3])
    }).pipe(Effect.provide(layer)))

  it.effect("I14 writes nothing without the key", () =>
    Effect.gen(function*() {
      const connections = yield* Connections
      const key = yield* keyOf("mcp")
      ;(yield* Vault).locked = true
      const error = yield* Effect.flip(Effect.flatMap(deposit("first"), (one) => connections.deposit(key, one)))
      assert.strictEqual(error.code, "encryption_key_missing")
      assert.strictEqual((yield* Effect.flip(connections.get(key))).code, "connection_not_found")
    }).pipe(Effect.provide(layer)))
})

describe("Connections.disconnect", () => {
  it.effect("I23 refuses tokens at once, without the key and without the provider, and again without effect", () =>
    Effect.gen(function*() {
      const connections = yield* Connections
      const key = yield* keyOf("mcp")
      yield* connect(key)
      const vault = yield* Vault
      vault.locked = true
      yield* Effect.scoped(Effect.gen(function*() {
        const wake = yield* (yield* Signals).subscribe(connectionTopic(key))
        yield* connections.disconnect(key)
        yield* wake
      }))
      vault.locked = false
      assert.strictEqual((yield* Effect.flip((yield* AccessTokens).get(key))).code, "connection_not_found")
      yield* connections.disconnect(key)
      assert.deepStrictEqual((yield* Provider).revoked, [])
    }).pipe(Effect.provide(layer)))
})
