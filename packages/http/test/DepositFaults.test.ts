import { assert, describe, it } from "@effect/vitest"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import * as Canary from "@valetkey/testing/Canary"
import { Effect } from "effect"
import { caller, deposit } from "./Caller.ts"
import { layer } from "./Harness.ts"
import { send } from "./Http.ts"
import { Script, writes } from "./Script.ts"

describe("PUT /v1/connections/{server}", () => {
  it.effect("refuses a body that names a property twice, however it is written, and one of another type", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const { calls } = yield* Script
      const body = JSON.stringify(deposit())
      const twice = [
        `{"clientId":"evil",${body.slice(1)}`,
        `{"client\\u0049d":"evil",${body.slice(1)}`,
        `${body.slice(0, -1)},"scopes":[{"a":1,"a":2}]}`
      ]
      for (const text of twice) {
        const answer = yield* send("PUT", "/v1/connections/notes", { token: ada.token, body: text })
        assert.deepStrictEqual([answer.status, answer.json["code"]], [400, "invalid_request"], text)
        assert.include(answer.text, "twice")
      }
      for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/xml"]) {
        const answer = yield* send("PUT", "/v1/connections/notes", {
          token: ada.token,
          body,
          headers: { "content-type": type }
        })
        assert.deepStrictEqual([answer.status, answer.json["code"]], [415, "unsupported_media_type"], type)
      }
      assert.deepStrictEqual(writes(calls), [])
      const alike = deposit({ clientId: "a\",\"clientId\":\"b" })
      assert.strictEqual((yield* ada.put("/v1/connections/notes", alike)).status, 201)
    }).pipe(Effect.provide(layer())))

  it.effect("S3.29 S3.30 S3.31 S3.32 S3.33 S3.36 S3x.3 S3x.4 API-05 API-06 names each fault by its path, never the value, and stores nothing", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const { calls } = yield* Script
      const secret = Canary.makeText("refresh")
      const cases: ReadonlyArray<readonly [string, Readonly<Record<string, unknown>>]> = [
        ["refreshToken", { refreshToken: undefined }],
        ["refreshToken", { refreshToken: "" }],
        ["refreshToken", { refreshToken: 471100471100 }],
        ["refreshToken", { refreshToken: { value: secret } }],
        ["refreshToken", { refreshToken: `${secret}\u0000` }],
        ["refreshToken", { refreshToken: "\ud800" }],
        ["tokenEndpoint", { tokenEndpoint: undefined }],
        ["tokenEndpoint", { tokenEndpoint: "" }],
        ["tokenEndpoint", { tokenEndpoint: `https://user:${secret}@as.example/token` }],
        ["tokenEndpoint", { tokenEndpoint: "https://as.example/token\n" }],
        ["clientId", { clientId: undefined }],
        ["clientId", { clientId: "" }],
        ["clientId", { clientId: undefined, clientSecret: secret }],
        ["verify", { verify: "yes" }],
        ["replace", { replace: 1 }],
        ["clientSecret", { authMethod: "client_secret_post" }],
        ["clientSecret", { authMethod: "none", clientSecret: secret }],
        ["authMethod", { authMethod: "private_magic" }],
        ["expiresAt", { expiresAt: "soon" }],
        ["expiresAt", { expiresAt: 17 }],
        ["scopes", { scopes: ["two words"] }],
        ["userId", { userId: 1 }],
        ["tenantId", { tenantId: "rival" }],
        ["status", { status: "active" }],
        ["generation", { generation: 99 }],
        ["isAdmin", { isAdmin: true }],
        [secret.slice(0, 20), { [secret]: true }]
      ]
      for (const [field, over] of cases) {
        const answer = yield* ada.put("/v1/connections/notes", deposit({ accessToken: secret, ...over }))
        assert.strictEqual(answer.status, 400, field)
        assert.strictEqual(answer.json["code"], "invalid_request")
        const paths = (answer.json["errors"] as ReadonlyArray<{ readonly path: ReadonlyArray<string> }>).map((error) =>
          error.path.join(".")
        )
        assert.isTrue(paths.some((path) => path.startsWith(`payload.${field}`)), `${field}: ${paths.join(" ")}`)
        if (!field.startsWith("CANARY")) assert.notInclude(answer.text, secret.slice(-32))
        for (const value of ["471100471100", "private_magic", "soon", "two words", "rival"]) {
          assert.notInclude(answer.text, value)
        }
      }
      assert.deepStrictEqual(writes(calls), [])
    }).pipe(Effect.provide(layer())))

  it.effect("S3.31 tells every missing field at once, each with its own error", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const answer = yield* ada.put("/v1/connections/notes", {})
      const errors = answer.json["errors"] as ReadonlyArray<{ readonly path: ReadonlyArray<string> }>
      assert.deepStrictEqual(errors.map(({ path }) => path[1]).toSorted(), ["clientId", "refreshToken"])
      const nowhere = yield* ada.put("/v1/connections/notes", deposit({ tokenEndpoint: undefined }))
      assert.strictEqual(nowhere.status, 400)
      assert.include(nowhere.text, "\"path\":[\"payload\",\"tokenEndpoint\"]")
    }).pipe(Effect.provide(layer())))

  it.effect("S3.34 S3.35 bounds what it stores by field and the rest by the size of the body", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const url = (length: number) => `https://as.example/${"t".repeat(length - 19)}`
      const bounds: ReadonlyArray<readonly [string, unknown, unknown]> = [
        ["tokenEndpoint", url(2048), url(2049)],
        ["clientId", "c".repeat(2048), "c".repeat(2049)],
        ["tokenType", "t".repeat(64), "t".repeat(65)],
        ["scopes", ["s".repeat(255)], ["s".repeat(256)]],
        ["scopes", Array.from({ length: 100 }, () => "s"), Array.from({ length: 101 }, () => "s")]
      ]
      for (const [field, fits, over] of bounds) {
        assert.include(
          [200, 201],
          (yield* ada.put("/v1/connections/notes", deposit({ [field]: fits, replace: true }))).status,
          field
        )
        assert.strictEqual(
          (yield* ada.put("/v1/connections/notes", deposit({ [field]: over, replace: true }))).status,
          400,
          field
        )
      }
      assert.strictEqual((yield* ada.put(`/v1/connections/${"s".repeat(64)}`, deposit())).status, 400)
      const large = yield* ada.put(
        "/v1/connections/notes",
        deposit({ refreshToken: "r".repeat(100 * 1024), replace: true })
      )
      assert.strictEqual(large.status, 200, large.text)
      const over = yield* ada.put("/v1/connections/notes", deposit({ refreshToken: "r".repeat(128 * 1024) }))
      assert.strictEqual(over.status, 413)
      assert.strictEqual(over.json["code"], "payload_too_large")
    }).pipe(Effect.provide(layer())))

  it.effect("API-07 S1x.10 takes no name that is not a plain one", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      for (const name of ["%2e%2e%2fx", "..%2Fx", "UPPER", "a%00b", "a%20b", "%25", "';drop--", "-a", "_a"]) {
        const answer = yield* ada.put(`/v1/connections/${name}`, deposit())
        assert.include([400, 404], answer.status, name)
      }
      assert.strictEqual((yield* MemoryWorld).connections.size, 0)
    }).pipe(Effect.provide(layer())))
})
