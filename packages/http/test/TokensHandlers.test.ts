import { assert, describe, it } from "@effect/vitest"
import { RedemptionError } from "@valetkey/domain/AuthorizationServer"
import * as Canary from "@valetkey/testing/Canary"
import { DateTime, Effect } from "effect"
import { TestClock } from "effect/testing"
import { caller, deposit, proofKey } from "./Caller.ts"
import { connect } from "./Consent.ts"
import { layer } from "./Harness.ts"
import { send } from "./Http.ts"
import { Script } from "./Script.ts"

describe("the token of a connection", () => {
  it.effect("API-15 is handed out with no-store, and refreshed when the caller saw it refused", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      yield* connect(ada)
      const first = yield* ada.post("/v1/connections/notes/token")
      assert.strictEqual(first.status, 200, first.text)
      assert.strictEqual(first.headers.get("cache-control"), "no-store")
      assert.isNull(first.headers.get("etag"))
      assert.deepInclude(first.json, { tokenType: "Bearer", scopes: ["notes.read"], generation: 1 })
      assert.strictEqual(String(first.json["expiresAt"]), DateTime.formatIso(DateTime.makeUnsafe(3_600_000)))
      const same = yield* ada.post("/v1/connections/notes/token", { minValiditySeconds: 60 })
      assert.strictEqual(same.json["accessToken"], first.json["accessToken"])
      const fresh = yield* ada.post("/v1/connections/notes/token", { rejectedToken: first.json["accessToken"] })
      assert.strictEqual(fresh.json["generation"], 2)
      assert.notStrictEqual(fresh.json["accessToken"], first.json["accessToken"])
      assert.strictEqual((yield* send("GET", "/v1/connections/notes/token", { token: ada.token })).status, 404)
    }).pipe(Effect.provide(layer())))

  it.live("EXT-03 is worth nothing without the key that it is bound to, and comes with the proof of one request or not at all", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const [accessToken, key] = [Canary.makeText("access"), proofKey()]
      const put = yield* ada.put(
        "/v1/connections/mail",
        deposit({ accessToken, tokenType: "DPoP", proofKey: key, resource: "https://mail.example/mcp" })
      )
      assert.strictEqual(put.status, 201, put.text)
      const path = "/v1/connections/mail/token"
      const url = "https://mail.example/mcp"
      for (const body of [undefined, {}, { proof: { method: "GET", url: "https://evil.example/mcp" } }]) {
        const refused = yield* ada.post(path, body)
        assert.deepStrictEqual([refused.status, refused.json["code"]], [403, "token_not_handed_out"])
        assert.notInclude(refused.text, accessToken)
      }
      for (const proof of [{ method: "get", url }, { method: "GET" }, { method: "GET", url, nonce: "a b" }]) {
        assert.strictEqual((yield* ada.post(path, { proof })).status, 400)
      }
      const { json, text } = yield* ada.post(path, { proof: { method: "POST", url, nonce: "n-1" } })
      assert.deepInclude(json, { accessToken, tokenType: "DPoP" })
      const [head = "", claims = ""] = String(json["proof"]).split(".")
      const read = (part: string) => JSON.parse(Buffer.from(part, "base64url").toString()) as Record<string, unknown>
      assert.deepInclude(read(claims), { htm: "POST", htu: url, nonce: "n-1" })
      assert.notProperty(read(head)["jwk"], "d")
      assert.notInclude(text, String(JSON.parse(key).d))
      // A deposit whose key is elsewhere is its holder's matter.
      yield* ada.put("/v1/connections/odd", deposit({ accessToken, tokenType: "DPoP" }))
      assert.deepInclude((yield* ada.post("/v1/connections/odd/token")).json, { accessToken, tokenType: "DPoP" })
      for (const wrong of ["not a key", JSON.stringify({ kty: "oct", k: "AAAA" })]) {
        assert.strictEqual((yield* ada.put("/v1/connections/bad", deposit({ proofKey: wrong }))).status, 400)
      }
    }).pipe(Effect.provide(layer())))

  it.effect("are not deposited with a key that does not sign", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const [jwk, other] = [proofKey(), proofKey()].map((key) => JSON.parse(key) as JsonWebKey)
      const issuer = "https://as.example"
      for (const wrong of [{ ...jwk, y: jwk!.x }, { ...jwk, d: other!.d }, { ...jwk, d: "AA" }]) {
        const key = JSON.stringify(wrong)
        for (
          const [field, body] of [
            ["proofKey", deposit({ proofKey: key })],
            ["clientSecret", deposit({ issuer, authMethod: "private_key_jwt", clientSecret: key })]
          ] as const
        ) {
          const refused = yield* ada.put("/v1/connections/bad", body)
          assert.deepStrictEqual([refused.status, refused.json["code"]], [400, "invalid_request"])
          assert.deepStrictEqual(refused.json["errors"], [
            { path: ["payload", field], message: "expected a private key that goes with its public half" }
          ])
          for (const part of [jwk!.x, jwk!.d, other!.d]) assert.notInclude(refused.text, part!)
        }
      }
      assert.strictEqual((yield* ada.get("/v1/connections/bad")).status, 404)
      const signer = deposit({ issuer, authMethod: "private_key_jwt", clientSecret: JSON.stringify(jwk) })
      assert.strictEqual((yield* ada.put("/v1/connections/good", signer)).status, 201)
    }).pipe(Effect.provide(layer())))

  it.effect("says how to start when the person is needed again", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const script = yield* Script
      yield* connect(ada)
      script.refresh = () => Effect.fail(new RedemptionError({ reason: { _tag: "Terminal", error: "invalid_grant" } }))
      yield* TestClock.adjust("1 hour")
      const answer = yield* ada.post("/v1/connections/notes/token", {})
      assert.strictEqual(answer.status, 409)
      assert.deepInclude(answer.json, { code: "reauthorization_required", reason: "refresh_token_rejected" })
      assert.deepStrictEqual(answer.json["reauthorize"], {
        method: "POST",
        href: "/v1/flows",
        body: { server: "notes", reauthorize: true }
      })
      const again = yield* ada.post("/v1/flows", (answer.json["reauthorize"] as { readonly body: unknown }).body)
      assert.strictEqual(again.status, 201)
    }).pipe(Effect.provide(layer())))

  it.effect("says when to come back while a refresh is under way", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const script = yield* Script
      yield* connect(ada)
      script.refresh = () => Effect.fail(new RedemptionError({ reason: { _tag: "Transient" } }))
      yield* TestClock.adjust("1 hour")
      const answer = yield* ada.post("/v1/connections/notes/token", {})
      assert.strictEqual(answer.status, 503)
      assert.strictEqual(answer.json["code"], "authorization_server_unavailable")
      assert.match(answer.headers.get("retry-after") ?? "", /^\d+$/)
    }).pipe(Effect.provide(layer())))

  it.effect("refuses one of a connection that is not there, or not the caller's, alike", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const grace = yield* caller({ sub: "grace" })
      yield* connect(ada)
      const absent = yield* ada.post("/v1/connections/nothing/token", {})
      const foreign = yield* grace.post("/v1/connections/notes/token", { rejectedToken: Canary.makeText("rejected") })
      assert.strictEqual(absent.status, 404)
      assert.deepStrictEqual({ ...foreign.json, correlationId: "" }, { ...absent.json, correlationId: "" })
    }).pipe(Effect.provide(layer())))
})
