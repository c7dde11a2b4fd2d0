import { assert, describe, it } from "@effect/vitest"
import { ApiProblem } from "@valetkey/api/ApiProblem"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import * as Canary from "@valetkey/testing/Canary"
import { Effect, Schema } from "effect"
import type * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import { caller } from "./Caller.ts"
import { layer } from "./Harness.ts"
import { send } from "./Http.ts"

const decodeProblem = Schema.decodeUnknownSync(ApiProblem)
const endpoints = Object.values(ValetkeyApi.groups).flatMap((group) =>
  Object.values(group.endpoints as Record<string, HttpApiEndpoint.Top>)
)

describe("ProblemBoundary", () => {
  it.effect("API-19 answers garbage at every endpoint with a problem that holds nothing of it", () =>
    Effect.gen(function*() {
      const { token } = yield* caller()
      const secret = Canary.makeText("garbage")
      const bodies = [
        secret,
        `{"${secret.slice(0, 8)}":`,
        JSON.stringify([secret]),
        JSON.stringify(secret),
        "null",
        "\u0000",
        "[".repeat(100_000),
        JSON.stringify({ server: secret, refreshToken: [secret], resource: secret, minValiditySeconds: secret })
      ]
      for (const endpoint of endpoints) {
        const path = endpoint.path.replace(":server", "notes").replace(":flowId", "nope")
        for (const body of endpoint.method === "GET" ? [undefined] : bodies) {
          const answer = yield* send(endpoint.method, `${path}${body === undefined ? `?q=${secret}` : ""}`, {
            token,
            body
          })
          if (answer.status < 400) continue
          const problem = decodeProblem(answer.json)
          assert.isBelow(answer.status, 500, answer.text)
          assert.strictEqual(problem.status, answer.status)
          assert.strictEqual(problem.type, `https://valetkey.dev/problems/${problem.code}`)
          assert.match(problem.correlationId ?? "", /^[0-9a-f-]{36}$/)
          assert.strictEqual(answer.headers.get("content-type"), "application/problem+json")
          assert.notInclude(answer.text, secret)
          assert.notMatch(answer.text, /node_modules|\bat \/|Error:/)
        }
      }
    }).pipe(Effect.provide(layer())))

  it.effect("LEAK-10 makes its own correlation id and reflects none", () =>
    Effect.gen(function*() {
      const { token } = yield* caller()
      const claimed = [
        "\"><script>alert(1)</script>",
        "a".repeat(4000),
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
      ]
      for (const value of claimed) {
        const headers = Object.fromEntries(
          ["x-request-id", "x-correlation-id", "request-id", "traceparent"].map((name) => [name, value])
        )
        const answer = yield* send("GET", "/v1/connections/absent", { token, headers })
        assert.match(String(answer.json["correlationId"]), /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
        assert.notInclude(answer.text + JSON.stringify([...answer.headers]), value)
      }
    }).pipe(Effect.provide(layer())))

  it.effect("S3.42 API-05 refuses unknown keys in every body and every query", () =>
    Effect.gen(function*() {
      const { token } = yield* caller()
      for (const endpoint of endpoints) {
        const path = endpoint.path.replace(":server", "notes").replace(":flowId", "nope")
        if (endpoint.payload.size > 0) {
          const answer = yield* send(endpoint.method, path, { token, body: { isAdmin: true } })
          assert.strictEqual(answer.status, 400, path)
          assert.include(JSON.stringify(answer.json["errors"]), "isAdmin")
        }
        if (endpoint.query !== undefined) {
          assert.strictEqual((yield* send(endpoint.method, `${path}?isAdmin=true`, { token })).status, 400, path)
        }
      }
    }).pipe(Effect.provide(layer())))

  it.effect("refuses a body of another type without repeating the type", () =>
    Effect.gen(function*() {
      const { token } = yield* caller()
      const answer = yield* send("POST", "/v1/flows", {
        token,
        body: "server=notes",
        headers: { "content-type": "application/x-evil" }
      })
      assert.strictEqual(answer.status, 415)
      assert.strictEqual(answer.json["code"], "unsupported_media_type")
      assert.notInclude(answer.text, "x-evil")
    }).pipe(Effect.provide(layer())))

  it.effect("API-09 bounds the body, the depth of what it reads, and the number of parameters", () =>
    Effect.gen(function*() {
      const { token } = yield* caller()
      const over = yield* send("POST", "/v1/flows", { token, body: JSON.stringify({ server: "n".repeat(128 * 1024) }) })
      assert.strictEqual(over.status, 413)
      const deep = yield* send("POST", "/v1/flows", { token, body: `{"server":${"[".repeat(33)}${"]".repeat(33)}}` })
      assert.strictEqual(deep.status, 400)
      const query = Array.from({ length: 200 }, (_, n) => `p${n}=1`).join("&")
      const many = yield* send("GET", `/v1/connections?${query}`, { token })
      assert.strictEqual(many.status, 400)
      assert.isAtMost((many.json["errors"] as ReadonlyArray<unknown>).length, 20)
    }).pipe(Effect.provide(layer())))

  it.effect("API-11 finds no endpoint by another spelling of its path", () =>
    Effect.gen(function*() {
      for (
        const path of [
          "/V1/connections",
          "/v1/./connections.",
          "/v1/connections;x",
          "/v1%2fconnections",
          "/v1/%63onnections/..;/servers",
          "/livez/%2e%2e/v1/connections",
          "/livez/..%2fv1/connections"
        ]
      ) {
        const answer = yield* send("GET", path)
        assert.include([400, 401, 404], answer.status, path)
        assert.notProperty(answer.json, "connections")
      }
    }).pipe(Effect.provide(layer())))
})
