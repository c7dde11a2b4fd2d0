import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as JwtAuthenticator from "../src/JwtAuthenticator.ts"
import { Readiness } from "../src/Readiness.ts"
import * as Routes from "../src/Routes.ts"
import { caller, jwt } from "./Caller.ts"
import { layer, layerWorld } from "./Harness.ts"
import { layerHttp, send } from "./Http.ts"

const guarded = layerHttp(
  Routes.layerApi({ hosts: ["127.0.0.1:8414", "localhost:8414"], origins: ["https://console.example"] })
).pipe(
  Layer.provide([JwtAuthenticator.layerSecret(jwt), Readiness.layerAlways]),
  Layer.provideMerge(layerWorld())
)

const withReadiness = (checks: Readiness["Service"]["checks"]) =>
  layerHttp(Routes.layerApi()).pipe(
    Layer.provide([JwtAuthenticator.layerSecret(jwt), Layer.succeed(Readiness, { checks })]),
    Layer.provideMerge(layerWorld())
  )

describe("the API listener", () => {
  it.effect("API-16 I17 refuses what a web page sends unless its origin is named", () =>
    Effect.gen(function*() {
      const { token } = yield* caller()
      for (const origin of ["null", "https://evil.example", "https://console.example.evil", "http://console.example"]) {
        for (const method of ["GET", "POST", "OPTIONS"]) {
          const answer = yield* send(method, "/v1/flows", { token, headers: { origin, host: "127.0.0.1:8414" } })
          assert.strictEqual(answer.status, 403)
          assert.strictEqual(answer.json["code"], "origin_refused")
          assert.isFalse([...answer.headers.keys()].some((name) => name.startsWith("access-control-")))
        }
      }
      const named = yield* send("GET", "/v1/connections", {
        token,
        headers: { origin: "https://console.example", host: "127.0.0.1:8414" }
      })
      assert.strictEqual(named.status, 200)
    }).pipe(Effect.provide(guarded)))

  it.effect("refuses a host that leads here through somebody's DNS, for every path", () =>
    Effect.gen(function*() {
      const { token } = yield* caller()
      for (const path of ["/v1/connections", "/livez", "/docs", "/v1/openapi.json", "/v1/proxy/notes/x", "/nothing"]) {
        for (const host of ["evil.example", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.evil.example:8414"]) {
          const answer = yield* send("GET", path, { token, headers: { host } })
          assert.strictEqual(answer.status, 421, `${path} ${host}`)
          assert.strictEqual(answer.json["code"], "host_refused")
        }
        assert.notStrictEqual((yield* send("GET", path, { token, headers: { host: "LOCALHOST:8414" } })).status, 421)
      }
    }).pipe(Effect.provide(guarded)))

  it.effect("answers an unknown path with a problem, whatever the method", () =>
    Effect.gen(function*() {
      for (const method of ["DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT"]) {
        const answer = yield* send(method, "/v2/flows")
        assert.strictEqual(answer.status, 404)
        assert.strictEqual(answer.json["code"], "not_found")
      }
      assert.strictEqual((yield* send("HEAD", "/livez")).status, 200)
      assert.strictEqual((yield* send("PATCH", "/v1/flows")).status, 404)
    }).pipe(Effect.provide(layer())))

  it.effect("S2.48 serves the document that is committed, and a page to read it on", () =>
    Effect.gen(function*() {
      const document = yield* send("GET", "/v1/openapi.json")
      assert.strictEqual(document.json["openapi"], "3.1.0")
      const page = yield* send("GET", "/docs")
      for (const path of Object.keys(document.json["paths"] as object)) assert.include(page.text, path)
    }).pipe(Effect.provide(layer())))
})

describe("GET /readyz", () => {
  it.effect("is ready when every condition holds", () =>
    Effect.gen(function*() {
      const answer = yield* send("GET", "/readyz")
      assert.strictEqual(answer.status, 200)
      assert.strictEqual(answer.json["ready"], true)
    }).pipe(Effect.provide(withReadiness(Effect.succeed([{ name: "store", ok: true, reason: "answers" }])))))

  it.effect("API-17 names the condition that does not hold, while the process lives", () =>
    Effect.gen(function*() {
      const answer = yield* send("GET", "/readyz")
      assert.strictEqual(answer.status, 503)
      assert.deepStrictEqual(answer.json, {
        ready: false,
        checks: [
          { name: "store", ok: true, reason: "answers" },
          { name: "key", ok: false, reason: "no encryption key is configured" }
        ]
      })
      assert.strictEqual((yield* send("GET", "/livez")).status, 200)
    }).pipe(Effect.provide(withReadiness(Effect.succeed([
      { name: "store", ok: true, reason: "answers" },
      { name: "key", ok: false, reason: "no encryption key is configured" }
    ])))))
})
