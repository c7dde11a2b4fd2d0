import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import * as SqliteStore from "@valetkey/store-sqlite/SqliteStore"
import * as Canary from "@valetkey/testing/Canary"
import * as Fingerprint from "@valetkey/testing/Fingerprint"
import * as McpClient from "@valetkey/testing/McpClient"
import * as McpResource from "@valetkey/testing/McpResource"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import { Effect, Option, Redacted } from "effect"
import { join } from "node:path"
import * as Installation from "./Installation.ts"
import { isActive } from "./Introspection.ts"
import * as TemporaryDirectory from "./TemporaryDirectory.ts"

const rounds = 50

describe("a provider that rotates and revokes the family of a reused token", () => {
  it.live(
    "I1 REF-11 never sees a refresh token twice in 50 refreshes and confirms the revocation",
    () =>
      Effect.gen(function*() {
        const refreshTokens: Array<Redacted.Redacted> = []
        const provider = yield* OidcProvider.make({
          onSecret: (kind, secret) => {
            Canary.register(kind, secret)
            if (kind === "refresh_token") refreshTokens.push(Redacted.make(secret))
          }
        })
        const resource = yield* McpResource.make(provider)
        const directory = yield* TemporaryDirectory.make

        yield* Effect.gen(function*() {
          const tokens = yield* AccessTokens
          const key = yield* Installation.describe(resource.url)
          assert.strictEqual((yield* Installation.connect(key)).state, "completed")

          // The brake on tokens that are refused one after the other would make fifty minutes of this.
          const store = yield* ConnectionStore
          const { get } = store
          Object.assign(store, {
            get: (key: ConnectionKey) => Effect.map(get(key), Option.map((found) => ({ ...found, forced: false })))
          })
          const seen = new Set<string>()
          let current = yield* tokens.get(key)
          seen.add(Redacted.value(current.accessToken))
          for (let round = 1; round <= rounds; round++) {
            current = yield* tokens.get(key, { rejected: current.accessToken })
            seen.add(Redacted.value(current.accessToken))
          }
          assert.strictEqual(seen.size, rounds + 1)
          assert.strictEqual((yield* McpClient.whoami(resource.url, { token: current.accessToken })).sub, "alice")

          assert.strictEqual(provider.refreshes.size, rounds)
          assert.deepStrictEqual([...provider.refreshes.values()], Array.from({ length: rounds }, () => 1))
          assert.strictEqual(provider.reuseDetected(), 0)
          assert.isTrue(provider.log.every(({ outcome }) => outcome === "ok"))

          const last = refreshTokens.at(-1)!
          assert.strictEqual(refreshTokens.length, rounds + 1)
          assert.isTrue(yield* isActive(provider, last))
          yield* (yield* Connections).disconnect(key)
          assert.strictEqual((yield* Effect.flip(tokens.get(key))).code, "connection_not_found")
          assert.strictEqual(yield* (yield* Housekeeping).revoke, 1)

          assert.isFalse(yield* isActive(provider, last))
          assert.isFalse(yield* isActive(provider, current.accessToken))
          assert.deepStrictEqual(
            provider.log.filter(({ kind }) => kind === "revocation").map(({ presented }) => presented),
            [last, current.accessToken].map((token) => Fingerprint.of(Redacted.value(token)))
          )
          assert.strictEqual(provider.reuseDetected(), 0)
        }).pipe(Effect.provide(Installation.layer(SqliteStore.layer({ path: join(directory, "valetkey.db") }))))
      }),
    20_000
  )
})
