import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { type Grant } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { connectionTopic, Signals } from "@valetkey/domain/Signals"
import { DateTime, Effect, Option, Redacted } from "effect"
import { connect, keyOf, layer, Provider, Vault } from "./World.ts"

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
