import { assert, describe, it } from "@effect/vitest"
import { FlowView } from "@valetkey/api/FlowsApi"
import { Context, Effect, Layer, Redacted } from "effect"
import { writeFileSync } from "node:fs"
import type { ServerResponse } from "node:http"
import { isTransient } from "../src/ClientError.ts"
import { ValetkeyClient } from "../src/ValetkeyClient.ts"
import * as StubServer from "./StubServer.ts"

const token = { accessToken: "secret", tokenType: "Bearer", expiresAt: "2999-01-01T00:00:00.000Z", generation: 2 }

const problem = (code: string, status: number, more: object = {}) => ({
  type: `https://valetkey.dev/problems/${code}`,
  title: code,
  status,
  code,
  detail: "A safe sentence",
  ...more
})

/** A client over each way to the same server. */
const clients = (stub: StubServer.StubServer) =>
  Effect.all([
    Layer.build(ValetkeyClient.layerSocket(stub)),
    Layer.build(ValetkeyClient.layerUrl({ url: stub.url, token: Redacted.make("url-token") }))
  ]).pipe(Effect.map((contexts) => contexts.map((context) => Context.get(context, ValetkeyClient))))

describe("ValetkeyClient", () => {
  it.live("S2.27 asks for a token with its credential and keeps the answer's secret redacted", () =>
    Effect.scoped(Effect.gen(function*() {
      const stub = yield* StubServer.make((_, response) => StubServer.json(response, 200, token))
      for (const client of yield* clients(stub)) {
        const answer = yield* client.token("notes", { minValidity: "1 minute", rejected: Redacted.make("old") })
        assert.strictEqual(Redacted.value(answer.accessToken), "secret")
        assert.notInclude(JSON.stringify(answer) + String(answer.accessToken), "secret")
      }
      assert.deepStrictEqual(stub.arrived.map(({ authorization }) => authorization), [
        "Bearer boot-token",
        "Bearer url-token"
      ])
      for (const { body, method, url } of stub.arrived) {
        assert.strictEqual(`${method} ${url}`, "POST /v1/connections/notes/token")
        assert.deepStrictEqual(JSON.parse(body), { minValiditySeconds: 60, rejectedToken: "old" })
      }
    })))

  it.live("LOOP-15 hands a pasted address over in the body alone, and gives the settled flow", () =>
    Effect.scoped(Effect.gen(function*() {
      const flowId = FlowView.fields.flowId.make("019ab000-0000-7000-8000-000000000001")
      const address = "http://127.0.0.1:1/cb/x?state=s&code=c"
      const stub = yield* StubServer.make((_, response) =>
        StubServer.json(response, 200, {
          flowId,
          server: "notes",
          status: "completed",
          transport: "loopback",
          createdAt: token.expiresAt,
          expiresAt: token.expiresAt
        })
      )
      for (const client of yield* clients(stub)) {
        assert.strictEqual((yield* client.paste(flowId, Redacted.make(address))).status, "completed")
      }
      for (const { body, method, url } of stub.arrived) {
        assert.strictEqual(`${method} ${url}`, `POST /v1/flows/${flowId}/callback`)
        assert.deepStrictEqual(JSON.parse(body), { url: address })
      }
    })))

  it.live("reads the audit chain and has it verified", () =>
    Effect.scoped(Effect.gen(function*() {
      const hash = "A".repeat(43)
      const stub = yield* StubServer.make(({ url }, response) =>
        StubServer.json(
          response,
          200,
          url.startsWith("/v1/audit/verification")
            ? {
              intact: false,
              events: 1,
              head: { seq: 2, hash },
              anchor: { seq: 0, hash },
              fault: { kind: "altered", seq: 2 }
            }
            : { events: [], next: 7 }
        )
      )
      for (const client of yield* clients(stub)) {
        assert.deepStrictEqual(yield* client.audit({ after: 5, limit: 2 }), { events: [], next: 7 })
        assert.deepInclude(yield* client.verifyAudit(`2:${hash}`), {
          intact: false,
          fault: { kind: "altered", seq: 2 }
        })
      }
      assert.deepStrictEqual(stub.arrived.slice(0, 2).map(({ url }) => url), [
        "/v1/audit?limit=2&after=5",
        `/v1/audit/verification?expect=2%3A${hash}`
      ])
    })))

  it.live("gives the server's problem as a value, whatever the status", () =>
    Effect.scoped(Effect.gen(function*() {
      const body = problem("reauthorization_required", 409, { reason: "no_refresh_token" })
      const stub = yield* StubServer.make((_, response) =>
        StubServer.json(response, 409, body, "application/problem+json")
      )
      for (const client of yield* clients(stub)) {
        const error = yield* Effect.flip(client.token("notes"))
        if (error._tag !== "ApiProblem") return assert.fail(error._tag)
        assert.strictEqual(error.code, "reauthorization_required")
        assert.strictEqual(error.reason, "no_refresh_token")
        assert.isFalse(isTransient(error))
        assert.strictEqual((yield* Effect.flip(client.connections)).code, "reauthorization_required")
      }
    })))

  it.live("S2.29 S2.28 tells another program, a page and a cut connection apart, and shows nothing of a body", () =>
    Effect.scoped(Effect.gen(function*() {
      let answer: (response: ServerResponse) => void = () => {}
      const stub = yield* StubServer.make((_, response) => answer(response))
      for (const client of yield* clients(stub)) {
        const fails = (next: typeof answer) => {
          answer = next
          return Effect.flip(client.token("notes"))
        }
        const page = yield* fails((response) => response.end("<html>hunter2</html>"))
        assert.strictEqual(page.code, "unexpected_response")
        assert.notInclude(page.message, "hunter2")
        const gateway = yield* fails((response) => response.writeHead(502).end("hunter2"))
        assert.strictEqual(gateway.code, "unexpected_response")
        assert.isTrue(isTransient(gateway))
        assert.strictEqual((yield* fails((response) => StubServer.json(response, 200, {}))).code, "unexpected_response")
        assert.strictEqual(
          (yield* fails((response) => response.writeHead(302, { location: "/x" }).end())).code,
          "unexpected_response"
        )
        const cut = yield* fails((response) => void response.socket?.destroy())
        assert.strictEqual(cut.code, "server_unreachable")
        assert.isTrue(isTransient(cut))
      }
      assert.isTrue(stub.arrived.every(({ url }) => url !== "/x"), "redirects are not followed")
    })))

  it.live("S2.30 says what was tried when nobody listens", () =>
    Effect.scoped(Effect.gen(function*() {
      const stub = yield* Effect.scoped(StubServer.make(() => {}))
      for (const client of yield* clients(stub)) {
        const error = yield* Effect.flip(client.connections)
        if (error._tag !== "Unreachable") return assert.fail(error._tag)
        assert.strictEqual(error.reason, "not_running")
        assert.include([stub.socket, stub.url], error.address)
      }
    })))

  it.live("reads the token of a local server anew for each request", () =>
    Effect.scoped(Effect.gen(function*() {
      const stub = yield* StubServer.make((_, response) => StubServer.json(response, 200, token))
      const [client] = yield* clients(stub)
      yield* client!.token("notes")
      writeFileSync(stub.tokenFile, "next-token\n")
      yield* client!.token("notes")
      assert.deepStrictEqual(stub.arrived.map(({ authorization }) => authorization), [
        "Bearer boot-token",
        "Bearer next-token"
      ])
    })))

  it.live("follows the pages of a list to the last", () =>
    Effect.scoped(Effect.gen(function*() {
      const server = (name: string) => ({ server: name, resource: "https://x.example", quirks: {} })
      const stub = yield* StubServer.make(({ url }, response) =>
        StubServer.json(
          response,
          200,
          url.includes("after=b") ? { servers: [server("c")] } : { servers: [server("a"), server("b")], next: "b" }
        )
      )
      for (const client of yield* clients(stub)) {
        assert.deepStrictEqual((yield* client.servers).map(({ server }) => String(server)), ["a", "b", "c"])
      }
    })))

  it.live("DAEM-16 refuses a name that is none before anything is sent", () =>
    Effect.scoped(Effect.gen(function*() {
      const stub = yield* StubServer.make((_, response) => StubServer.json(response, 200, token))
      for (const client of yield* clients(stub)) {
        for (const name of ["../../x", "a/b", "a\0b", "", "x".repeat(64), "‮x", "..%2f"]) {
          assert.strictEqual((yield* Effect.flip(client.token(name))).code, "invalid_request")
        }
      }
      assert.lengthOf(stub.arrived, 0)
    })))
})
