import { assert, describe, it } from "@effect/vitest"
import * as LocalSocket from "@valetkey/client/LocalSocket"
import { Effect } from "effect"
import { writeFileSync } from "node:fs"
import * as StubServer from "./support/StubServer.ts"
import * as Valetkey from "./support/Valetkey.ts"

const flowId = "019a0000-0000-7000-8000-000000000000"

const started = {
  status: 201,
  body: {
    flowId,
    status: "pending",
    authorizationUrl: "https://provider.example/authorize?state=s",
    transport: "loopback",
    handOffs: 0,
    expiresAt: "2999-01-01T00:00:00.000Z"
  }
}

const flow = (status: string, more: object = {}) => ({
  body: {
    flowId,
    server: "x",
    status,
    transport: "loopback",
    handOffs: 0,
    createdAt: "2026-01-01T00:00:00.000Z",
    expiresAt: "2999-01-01T00:00:00.000Z",
    ...more
  }
})

const problem = (status: number, code: string, detail: string, more: object = {}) => ({
  status,
  type: "application/problem+json",
  body: { type: `https://valetkey.dev/problems/${code}`, title: code, status, code, detail, ...more }
})

/** A server that starts a flow and answers each poll with the next of these; the last one stays. */
const polled = (...answers: ReadonlyArray<ReturnType<StubServer.Answer>>): StubServer.Answer => {
  let poll = 0
  return (request) => {
    if (request.method === "POST") return started
    if (request.method === "DELETE") return { status: 204, body: "" }
    return answers[Math.min(poll++, answers.length - 1)]
  }
}

const connect = Effect.fnUntraced(function*(answer: StubServer.Answer) {
  const valetkey = yield* Valetkey.make
  const stub = yield* StubServer.make(valetkey, answer)
  const ended = yield* valetkey.run(["connect", "x", "--no-browser"])
  const json = Effect.scoped(Effect.gen(function*() {
    const again = yield* Valetkey.make
    yield* StubServer.make(again, answer)
    return yield* again.json(["connect", "x"], { BROWSER: valetkey.browser.path })
  }))
  return { ended, json, requests: stub.requests }
})

describe("polling", () => {
  it.live("S2.3 asks for the start once and then for nothing but the flow", () =>
    Effect.scoped(Effect.gen(function*() {
      const { ended, requests } = yield* connect(polled(flow("pending"), flow("exchanging"), flow("completed")))
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.deepStrictEqual(requests, [
        "POST /v1/flows",
        `GET /v1/flows/${flowId}?wait=25`,
        `GET /v1/flows/${flowId}?wait=25`,
        `GET /v1/flows/${flowId}?wait=25`
      ])
    })))

  it.live("S2.23 DAEM-13 asks again when the connection breaks, three times in a row", () =>
    Effect.scoped(Effect.gen(function*() {
      const { ended, requests } = yield* connect(polled(undefined, undefined, undefined, flow("completed")))
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.strictEqual(requests.filter((request) => request.startsWith("GET")).length, 4)
    })))

  it.live("S2.23 asks again when the server drains", () =>
    Effect.scoped(Effect.gen(function*() {
      const draining = problem(503, "draining", "This server is shutting down")
      const { ended } = yield* connect(polled(draining, flow("completed")))
      assert.strictEqual(ended.code, 0, ended.stderr)
    })))

  it.live("says once that another command goes on with the flow, and waits for how it ends", () =>
    Effect.scoped(Effect.gen(function*() {
      const handed = flow("pending", { transport: "device", handOffs: 1 })
      const { ended } = yield* connect(polled(flow("pending"), handed, handed, flow("completed", { handOffs: 1 })))
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.strictEqual(ended.stderr.split("what was shown here leads nowhere any more").length, 2, ended.stderr)
      const { ended: alone } = yield* connect(polled(flow("pending"), flow("pending"), flow("completed")))
      assert.notInclude(alone.stderr, "leads nowhere")
    })))

  it.live("S2.24 surfaces a definite error at once, in the server's words", () =>
    Effect.scoped(Effect.gen(function*() {
      const { ended, json, requests } = yield* connect(
        polled(problem(404, "flow_not_found", "There is no such flow; start another"))
      )
      assert.strictEqual(ended.code, 1)
      assert.include(ended.stderr, "There is no such flow; start another")
      assert.strictEqual(requests.filter((request) => request.startsWith("GET")).length, 1)
      assert.strictEqual((yield* json).error.code, "flow_not_found")
    })))

  it.live("S2.26 cancels the flow that it stops waiting for, whatever the reason", () =>
    Effect.scoped(Effect.gen(function*() {
      const broken = problem(500, "internal", "Something went wrong here")
      const { ended, requests } = yield* connect(polled(broken, flow("pending")))
      assert.strictEqual(ended.code, 1)
      assert.include(ended.stderr, "Something went wrong here")
      assert.include(ended.stderr, "Cancelled")
      assert.deepStrictEqual(requests.slice(-2), [`GET /v1/flows/${flowId}?wait=0`, `DELETE /v1/flows/${flowId}`])

      const { ended: late, requests: asked } = yield* connect(polled(broken, flow("completed")))
      assert.include(late.stderr, "The flow ended meanwhile")
      assert.isFalse(asked.some((request) => request.startsWith("DELETE")))
    })))

  it.live("S2.28 calls a start without a URL an unexpected response", () =>
    Effect.scoped(Effect.gen(function*() {
      const { ended, json } = yield* connect(() => ({ status: 201, body: {} }))
      assert.strictEqual(ended.code, 1)
      assert.include(ended.stderr, "Unexpected response")
      assert.strictEqual((yield* json).error.code, "unexpected_response")
    })))

  it.live("S2.29 DAEM-13 calls a page in place of JSON an unexpected response, without a stack", () =>
    Effect.scoped(Effect.gen(function*() {
      const { ended, json } = yield* connect(() => ({ type: "text/html", body: "<html>Bad gateway</html>" }))
      assert.strictEqual(ended.code, 1)
      assert.include(ended.stderr, "Unexpected response")
      assert.notMatch(ended.stderr, /\bat .*:\d+:\d+|<html>/)
      assert.strictEqual((yield* json).error.code, "unexpected_response")
    })))

  it.live("S2.31 DAEM-18 says so when the server is of another version", () =>
    Effect.scoped(Effect.gen(function*() {
      const { ended } = yield* connect(() => problem(404, "unknown_method", "unknown"))
      assert.strictEqual(ended.code, 1)
      assert.include(ended.stderr, "not a Valetkey server of this version")
    })))

  it.live("DAEM-18 names both versions when the server of this user is of another one, how to end it, and goes on", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      yield* StubServer.make(valetkey, polled(flow("completed")), "9.9.9\u009b31m")
      writeFileSync(valetkey.home.pid, "99999999\n")
      const ended = yield* valetkey.run(["connect", "x", "--no-browser"])
      assert.strictEqual(ended.code, 0, ended.stderr)
      const { stdout } = yield* valetkey.run(["--version"])
      assert.include(
        ended.stderr,
        `is of version 9.9.931m, this command of ${stdout.trim()}; end it with \`kill 99999999\``
      )
    })))

  it.live("DAEM-18 says nothing of versions when the server of this user is of the same", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      yield* valetkey.serve()
      const ended = yield* valetkey.run(["servers", "add", "x", "https://x.example"])
      assert.strictEqual(ended.code, 0)
      assert.notInclude(ended.stderr, "version")
      const live = yield* Effect.promise(() =>
        LocalSocket.request({ socket: valetkey.home.socket, method: "GET", path: "/livez" })
      )
      const { stdout } = yield* valetkey.run(["--version"])
      assert.strictEqual(live.headers["valetkey-version"], stdout.trim())
    })))

  it.live("DAEM-09 prints nothing of a provider that a terminal would obey", () =>
    Effect.scoped(Effect.gen(function*() {
      const evil = "https://provider.example/authorize?a=\u001b]0;owned\u0007\u009b31m"
      const { ended } = yield* connect((request) =>
        request.method === "POST"
          ? { status: 201, body: { ...started.body, authorizationUrl: evil } }
          : problem(409, "flow_conflict", "\u001b[2Jcleared\u202e", { running: flowId })
      )
      assert.strictEqual(ended.code, 1)
      assert.notMatch((ended.stdout + ended.stderr).replaceAll("\n", ""), /[\p{Cc}\p{Cf}]/u)
      assert.include(ended.stderr, "cleared")
    })))
})
