import { assert, describe, it } from "@effect/vitest"
import { Cipher } from "@valetkey/domain/Cipher"
import { sealContext } from "@valetkey/domain/Connection"
import { quiet } from "@valetkey/domain/KeyRotation"
import { keyIdOf, Sealed } from "@valetkey/domain/Sealed"
import { Spool } from "@valetkey/domain/Spool"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import * as Canary from "@valetkey/testing/Canary"
import { Effect, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { randomBytes } from "node:crypto"
import { allScopes, type Caller, caller, deposit } from "./Caller.ts"
import { layer } from "./Harness.ts"
import type { Answer } from "./Http.ts"

const entry = (id: number) => `${id}:${randomBytes(32).toString("base64")}`
const twoKeys = () => Redacted.make(`${entry(1)},${entry(2)}`)

const keysOf = (answer: Answer) => answer.json["keys"] as ReadonlyArray<Readonly<Record<string, unknown>>>

const described = (answer: Answer) =>
  keysOf(answer).map(({ envelopes, held, id, state }) => [id, state, held, envelopes])

/** Connections, a server with a secret and an open flow: envelopes in three tables, and one owed revocation. */
const filled = Effect.fnUntraced(function*(ada: Caller) {
  yield* ada.put("/v1/servers/registered", {
    resource: "https://registered.example/mcp",
    client: { clientId: "by-hand", authMethod: "client_secret_basic", clientSecret: Canary.makeText("client") }
  })
  for (const name of ["one", "two", "gone"]) {
    yield* ada.put(
      `/v1/connections/${name}`,
      deposit({ accessToken: Canary.makeText("access"), expiresAt: "1970-01-01T06:00:00Z" })
    )
  }
  yield* ada.delete("/v1/connections/gone")
  yield* ada.post("/v1/flows", { server: "notes" })
})

describe("the root keys", () => {
  it.effect("I26 belong to the installation: a tenant's admin may neither see nor turn them", () =>
    Effect.gen(function*() {
      const admin = yield* caller({ scope: allScopes.replace(" operator", "") })
      for (const path of ["/v1/keys", "/v1/instance"]) assert.strictEqual((yield* admin.get(path)).status, 403, path)
      for (
        const path of [
          "/v1/keys",
          "/v1/keys/rewrap",
          "/v1/keys/1/promote",
          "/v1/keys/1/retire",
          "/v1/instance/takeover"
        ]
      ) {
        const refused = yield* admin.post(path, { confirm: true })
        assert.strictEqual(refused.status, 403, path)
        assert.deepStrictEqual(refused.json["requiredScopes"], ["operator"], path)
      }
    }).pipe(Effect.provide(layer())))

  it.effect("S3.15 CRY-15 rotate while tokens are handed out: promote, rewrap, retire", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      yield* filled(ada)
      const before = yield* ada.get("/v1/keys")
      assert.strictEqual(before.status, 200)
      assert.deepStrictEqual(described(before).map(([id, state]) => [id, state]), [[1, "primary"], [2, "active"]])
      const total = Number(keysOf(before)[0]!["envelopes"])
      assert.isAtLeast(total, 6)

      assert.strictEqual((yield* ada.post("/v1/keys/2/promote")).status, 204)
      assert.strictEqual((yield* ada.post("/v1/keys/2/promote")).status, 204)
      assert.deepStrictEqual(described(yield* ada.get("/v1/keys")), [[1, "active", true, total], [
        2,
        "primary",
        true,
        0
      ]])
      assert.strictEqual((yield* ada.post("/v1/keys/1/retire")).json["code"], "key_in_use")

      const round = yield* ada.post("/v1/keys/rewrap")
      assert.deepInclude(round.json, { moved: 0, failed: 0, done: true })
      assert.deepStrictEqual(described(yield* ada.get("/v1/keys")), [[1, "active", true, 0], [
        2,
        "primary",
        true,
        total
      ]])
      assert.deepStrictEqual((yield* ada.post("/v1/keys/rewrap")).json, {
        rewrapped: 0,
        moved: 0,
        failed: 0,
        done: true
      })
      assert.strictEqual((yield* ada.post("/v1/connections/one/token", {})).status, 200)

      assert.strictEqual((yield* ada.post("/v1/keys/1/retire")).json["code"], "key_in_use")
      yield* TestClock.adjust(quiet)
      assert.strictEqual((yield* ada.post("/v1/keys/1/retire")).status, 204)
      assert.strictEqual((yield* ada.post("/v1/keys/1/retire")).status, 204)
      assert.strictEqual((yield* ada.post("/v1/keys/1/promote")).json["code"], "key_retired")
      assert.strictEqual((yield* ada.post("/v1/connections/two/token", {})).status, 200)
    }).pipe(Effect.provide(layer({ keys: twoKeys() }))))

  it.effect("CRY-15 rotate under what waits in the spool: every secret of an entry opens as itself afterwards", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const [cipher, spool] = [yield* Cipher, yield* Spool]
      yield* ada.put("/v1/connections/one", deposit())
      const { connection } = [...(yield* MemoryWorld).connections.values()][0]!
      const { epoch, grant, key } = connection
      const fields = ["access_token", "refresh_token", "client_secret"] as const
      type Field = typeof fields[number]
      const contextOf = (field: Field) => sealContext(key, epoch, field, field === "client_secret" ? 0 : 2)
      const secrets = {
        access_token: Canary.make("access"),
        refresh_token: Canary.make("refresh"),
        client_secret: Canary.make("client")
      }
      const sealed = (field: Field) => cipher.seal(contextOf(field), secrets[field])
      for (const id of ["whole", "no refresh token", "no client secret"]) {
        yield* spool.append({
          id,
          key,
          epoch,
          redeemed: connection.generation,
          grant,
          clientSecret: id === "no client secret" ? undefined : yield* sealed("client_secret"),
          credentials: {
            ...(id === "no refresh token" ? {} : { refreshToken: yield* sealed("refresh_token") }),
            accessToken: yield* sealed("access_token"),
            tokenType: "Bearer",
            issuedAt: connection.createdAt
          }
        })
      }
      const own = keysOf(yield* ada.get("/v1/keys")).map(({ envelopes }) => envelopes)
      yield* ada.post("/v1/keys/2/promote")
      assert.deepInclude((yield* ada.post("/v1/keys/rewrap")).json, { failed: 0, done: true })
      assert.deepStrictEqual(keysOf(yield* ada.get("/v1/keys")).map(({ envelopes }) => envelopes), [0, own[0]])
      for (const { clientSecret, credentials, id } of yield* spool.list) {
        const held = {
          access_token: credentials.accessToken,
          refresh_token: credentials.refreshToken,
          client_secret: clientSecret
        }
        for (const field of fields) {
          const one = held[field]
          if (one === undefined) {
            assert.strictEqual(id, `no ${field.replace("_", " ")}`)
            continue
          }
          assert.strictEqual(keyIdOf(one), 2)
          assert.strictEqual(Redacted.value(yield* cipher.open(contextOf(field), one)), Redacted.value(secrets[field]))
        }
      }
    }).pipe(Effect.provide(layer({ keys: twoKeys() }))))

  it.effect("CRY-06 leaves a secret that does not open as it is and refuses to retire its key", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      yield* filled(ada)
      const world = yield* MemoryWorld
      const [path, row] = [...world.connections].find(([, { connection }]) => connection.key.server === "one")!
      const damaged = Sealed.make(row.connection.credentials.accessToken.map((byte, at) => at === 90 ? byte ^ 1 : byte))
      world.connections.set(path, {
        ...row,
        connection: { ...row.connection, credentials: { ...row.connection.credentials, accessToken: damaged } }
      })
      yield* ada.post("/v1/keys/2/promote")
      assert.deepInclude((yield* ada.post("/v1/keys/rewrap")).json, { failed: 1, done: true })
      assert.deepStrictEqual(world.connections.get(path)?.connection.credentials.accessToken, damaged)
      assert.strictEqual(keyIdOf(damaged), 1)
      yield* TestClock.adjust(quiet)
      assert.strictEqual((yield* ada.post("/v1/keys/1/retire")).json["code"], "key_in_use")
    }).pipe(Effect.provide(layer({ keys: twoKeys() }))))

  it.effect("CRY-15 says what is wrong with a step that cannot be taken", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      yield* filled(ada)
      for (
        const [path, status, code] of [
          ["/v1/keys/7/promote", 404, "key_not_found"],
          ["/v1/keys/7/retire", 404, "key_not_found"],
          ["/v1/keys/1/retire", 409, "key_in_use"],
          ["/v1/keys", 409, "keys_managed_elsewhere"],
          ["/v1/keys/x/promote", 400, "invalid_request"],
          ["/v1/keys/-1/promote", 400, "invalid_request"]
        ] as const
      ) {
        const answer = yield* ada.post(path)
        assert.strictEqual(answer.status, status, path)
        assert.strictEqual(answer.json["code"], code, path)
      }
    }).pipe(Effect.provide(layer({ keys: twoKeys() }))))

  it.effect("I26 are the operator's alone, and never shown", () =>
    Effect.gen(function*() {
      const bob = yield* caller({ scope: "connections:read connections:write tokens:read flows:write" })
      for (const path of ["/v1/keys", "/v1/keys/rewrap", "/v1/keys/1/promote", "/v1/keys/1/retire"]) {
        assert.strictEqual((yield* bob.post(path)).status, 403, path)
      }
      assert.strictEqual((yield* bob.get("/v1/keys")).status, 403)
      const keys = twoKeys()
      const shown = (yield* (yield* caller()).get("/v1/keys")).text
      for (const part of Redacted.value(keys).split(/[:,]/)) if (part.length > 9) assert.notInclude(shown, part)
    }).pipe(Effect.provide(layer({ keys: twoKeys() }))))

  it.effect("S3.20 without a key the status says so", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const answer = yield* ada.get("/v1/keys")
      assert.strictEqual(answer.status, 503)
      assert.strictEqual(answer.json["code"], "encryption_key_missing")
    }).pipe(Effect.provide(layer({ keys: null }))))
})
