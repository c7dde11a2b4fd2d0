import { assert, describe, it } from "@effect/vitest"
import { ApiKeyId } from "@valetkey/domain/ApiKey"
import { ApiKeys, usageCoarseness } from "@valetkey/domain/ApiKeys"
import { ApiKeyStore } from "@valetkey/domain/ApiKeyStore"
import { StoreError } from "@valetkey/domain/StoreError"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import * as Canary from "@valetkey/testing/Canary"
import { Effect, Layer, Redacted } from "effect"
import { TestClock } from "effect/testing"
import * as ApiKeyAuthenticator from "../src/ApiKeyAuthenticator.ts"
import { Authenticator } from "../src/Authenticator.ts"
import * as JwtAuthenticator from "../src/JwtAuthenticator.ts"
import { allScopes, caller, deposit, jwt } from "./Caller.ts"
import { layer } from "./Harness.ts"
import { send } from "./Http.ts"
import { Script } from "./Script.ts"

/** Makes a key over HTTP and gives its id and credential. */
const make = Effect.fnUntraced(function*(
  over: Readonly<Record<string, unknown>> = {},
  claims: Readonly<Record<string, unknown>> = {}
) {
  const admin = yield* caller(claims)
  const answer = yield* admin.post("/v1/api-keys", { name: "job", scopes: ["connections:read"], ...over })
  assert.strictEqual(answer.status, 201, answer.text)
  const credential = String(answer.json["credential"])
  const { id } = answer.json["apiKey"] as { readonly id: string }
  Canary.register("api-key", credential.slice(id.length + 1))
  return { admin, credential, id, answer }
})

/** A credential that differs in one character of its secret. */
const wrongSecret = (credential: string) => credential.slice(0, -2) + (credential.at(-2) === "A" ? "B" : "A") + "A"

describe("API keys", () => {
  it.effect("API-12 shows the credential once, with its id as the visible prefix, and keeps only a digest", () =>
    Effect.gen(function*() {
      const { admin, answer, credential, id } = yield* make()
      assert.match(credential, /^vk_[0-9a-f]{32}_[A-Za-z0-9_-]{43}$/)
      assert.isTrue(credential.startsWith(`${id}_`))
      assert.strictEqual(answer.headers.get("cache-control"), "no-store")
      const secret = credential.slice(id.length + 1)
      const listed = yield* admin.get("/v1/api-keys")
      assert.notInclude(listed.text, secret)
      assert.notInclude(JSON.stringify([...(yield* MemoryWorld).apiKeys]), secret)
      assert.deepInclude((listed.json["apiKeys"] as ReadonlyArray<object>)[0], {
        id,
        name: "job",
        subject: "ada",
        scopes: ["connections:read"]
      })
    }).pipe(Effect.provide(layer())))

  it.effect("API-12 API-13 S3.28 acts for the subject and tenant of the key, with its scopes and no more", () =>
    Effect.gen(function*() {
      const grace = yield* caller({ sub: "grace" })
      yield* grace.put("/v1/connections/notes", deposit())
      const { credential } = yield* make({ subject: "grace" })
      assert.strictEqual((yield* send("GET", "/v1/connections/notes", { token: credential })).status, 200)
      const refused = yield* send("DELETE", "/v1/connections/notes", { token: credential })
      assert.strictEqual(refused.status, 403)
      assert.deepStrictEqual(refused.json["requiredScopes"], ["connections:write"])
      const rival = yield* make({ subject: "grace" }, { tenant: "rival" })
      assert.strictEqual((yield* send("GET", "/v1/connections/notes", { token: rival.credential })).status, 404)
    }).pipe(Effect.provide(layer())))

  it.effect("API-13 makes no key with a scope that its maker lacks, and none for who is no admin", () =>
    Effect.gen(function*() {
      const { credential } = yield* make({ scopes: ["admin", "connections:read"] })
      const answer = yield* send("POST", "/v1/api-keys", {
        token: credential,
        body: { name: "more", scopes: ["connections:read", "tokens:read"] }
      })
      assert.strictEqual(answer.status, 403)
      assert.deepStrictEqual(answer.json["requiredScopes"], ["tokens:read"])
      assert.strictEqual((yield* MemoryWorld).apiKeys.size, 1)
      const weak = yield* caller({ scope: allScopes.replace(" admin", "") })
      assert.strictEqual((yield* weak.post("/v1/api-keys", { name: "x", scopes: ["tokens:read"] })).status, 403)
    }).pipe(Effect.provide(layer())))

  it.effect("API-12 answers every wrong key with the same 401", () =>
    Effect.gen(function*() {
      const { admin, credential, id } = yield* make()
      const revoked = yield* make()
      yield* admin.delete(`/v1/api-keys/${revoked.id}`)
      const other = yield* make()
      const wrong = [
        wrongSecret(credential),
        `${id}_${other.credential.slice(other.id.length + 1)}`,
        `vk_${"0".repeat(32)}_${"A".repeat(43)}`,
        `${credential}A`,
        credential.toUpperCase(),
        id,
        `${id}_`,
        revoked.credential
      ]
      const answers = yield* Effect.forEach(wrong, (token) => send("GET", "/v1/connections", { token }))
      const shapes = answers.map(({ json: { correlationId: _, ...body }, status }) => JSON.stringify({ status, body }))
      assert.strictEqual(new Set(shapes).size, 1)
      assert.strictEqual(answers[0]!.status, 401)
      assert.strictEqual((yield* send("GET", "/v1/connections", { token: credential })).status, 200)
    }).pipe(Effect.provide(layer())))

  it.effect("API-12 ends with its expiry; the default is 90 days", () =>
    Effect.gen(function*() {
      const { answer } = yield* make()
      const { createdAt, expiresAt } = answer.json["apiKey"] as Readonly<Record<string, string>>
      assert.strictEqual(Date.parse(expiresAt!) - Date.parse(createdAt!), 90 * 86_400_000)
      const short = yield* make({ expiresInSeconds: 60 })
      yield* TestClock.adjust("61 seconds")
      assert.strictEqual((yield* send("GET", "/v1/connections", { token: short.credential })).status, 401)
    }).pipe(Effect.provide(layer())))

  it.effect("API-02 revokes for good; a foreign key is answered like one that does not exist", () =>
    Effect.gen(function*() {
      const { admin, credential, id } = yield* make()
      const rival = yield* caller({ tenant: "rival" })
      const foreign = yield* rival.delete(`/v1/api-keys/${id}`)
      const absent = yield* rival.delete(`/v1/api-keys/vk_${"0".repeat(32)}`)
      const nonsense = yield* rival.delete("/v1/api-keys/nonsense")
      const shape = ({ json: { correlationId: _, ...body }, status }: typeof foreign) => ({ body, status })
      assert.deepStrictEqual(shape(foreign), shape(absent))
      assert.deepStrictEqual(shape(nonsense), shape(absent))
      assert.strictEqual(absent.json["code"], "api_key_not_found")
      assert.deepStrictEqual((yield* rival.get("/v1/api-keys")).json["apiKeys"], [])
      assert.strictEqual((yield* send("GET", "/v1/connections", { token: credential })).status, 200)
      const first = yield* admin.delete(`/v1/api-keys/${id}`)
      assert.strictEqual(first.status, 204)
      assert.strictEqual(first.text, "")
      assert.strictEqual((yield* admin.delete(`/v1/api-keys/${id}`)).status, 204)
    }).pipe(Effect.provide(layer())))

  it.live("API-12 is refused within a second of its revocation on a replica that has just used it", () =>
    Effect.gen(function*() {
      const { credential, id } = yield* make()
      const authenticator = yield* Authenticator
      yield* authenticator.authenticate(Redacted.make(credential))
      assert.isDefined(authenticator.remembered(credential))
      // Another replica revokes: this one hears nothing of it.
      const store = yield* ApiKeyStore
      const [row] = [...(yield* MemoryWorld).apiKeys.values()]
      const revokedAt = Date.now()
      yield* store.revoke(row!.key.tenant, row!.key.id)
      assert.strictEqual(row!.key.id, id)
      while ((yield* Effect.result(authenticator.authenticate(Redacted.make(credential))))._tag === "Success") {
        assert.isBelow(Date.now() - revokedAt, 1000)
        yield* Effect.yieldNow
      }
      assert.isUndefined(authenticator.remembered(credential))
    }).pipe(Effect.provide(layer())))

  it.effect("API-12 records use once an hour at most, beside the call", () =>
    Effect.gen(function*() {
      const { credential, id } = yield* make()
      const keys = yield* ApiKeys
      const { calls } = yield* Script
      const touches = () => calls.filter((call) => call === "ApiKeyStore.touch").length
      const use = Effect.andThen(keys.verify(Redacted.make(credential)), Effect.yieldNow)
      yield* Effect.repeat(use, { times: 9 })
      assert.strictEqual(touches(), 1)
      assert.isDefined((yield* MemoryWorld).apiKeys.get(ApiKeyId.make(id))!.key.lastUsedAt)
      yield* TestClock.adjust(usageCoarseness)
      yield* Effect.repeat(use, { times: 9 })
      assert.strictEqual(touches(), 2)
    }).pipe(Effect.provide(layer())))

  it.effect("API-12 says that it cannot verify when the store is away, and never lets anybody in", () => {
    const away = Effect.fail(new StoreError({ code: "store_unavailable", operation: "findLive" }))
    const layerAway = Layer.succeed(
      ApiKeys,
      ApiKeys.of({ create: () => away, list: () => away, revoke: () => away, verify: () => away })
    )
    return Effect.gen(function*() {
      const error = yield* Effect.flip(
        Effect.flatMap(
          Authenticator,
          ({ authenticate }) => authenticate(Redacted.make(`vk_${"0".repeat(32)}_${"A".repeat(43)}`))
        )
      )
      assert.strictEqual(error.code, "authentication_unavailable")
    }).pipe(
      Effect.provide(Layer.provide(ApiKeyAuthenticator.layer(JwtAuthenticator.layerSecret(jwt)), layerAway))
    )
  })

  it.effect("API-06 S3.30 S3.42 names each fault of a wanted key by its path", () =>
    Effect.gen(function*() {
      const admin = yield* caller()
      const cases: ReadonlyArray<readonly [string, Readonly<Record<string, unknown>>]> = [
        ["name", { name: "" }],
        ["name", { name: "a\u0000b" }],
        ["name", { name: "x".repeat(256) }],
        ["scopes", { scopes: [] }],
        ["scopes", { scopes: ["everything"] }],
        ["scopes", { scopes: ["admin", "admin"] }],
        ["subject", { subject: "" }],
        ["subject", { subject: "__proto__" }],
        ["expiresInSeconds", { expiresInSeconds: 0 }],
        ["expiresInSeconds", { expiresInSeconds: 1e12 }],
        ["tenant", { tenant: "rival" }]
      ]
      for (const [field, over] of cases) {
        const answer = yield* admin.post("/v1/api-keys", { name: "job", scopes: ["tokens:read"], ...over })
        assert.strictEqual(answer.status, 400, `${field}: ${answer.text}`)
        assert.include(answer.text, `"${field}"`)
      }
      assert.strictEqual((yield* MemoryWorld).apiKeys.size, 0)
    }).pipe(Effect.provide(layer())))

  it.effect("pages through the keys", () =>
    Effect.gen(function*() {
      for (const _ of [1, 2, 3]) yield* make()
      const admin = yield* caller()
      const first = yield* admin.get("/v1/api-keys?limit=2")
      assert.lengthOf(first.json["apiKeys"] as ReadonlyArray<unknown>, 2)
      const rest = yield* admin.get(`/v1/api-keys?limit=2&after=${first.json["next"]}`)
      assert.lengthOf(rest.json["apiKeys"] as ReadonlyArray<unknown>, 1)
      assert.notProperty(rest.json, "next")
    }).pipe(Effect.provide(layer())))
})
