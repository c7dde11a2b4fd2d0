import { assert, describe, it } from "@effect/vitest"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect, Exit } from "effect"
import * as StubServer from "./support/StubServer.ts"
import * as Valetkey from "./support/Valetkey.ts"

const five = [1, 2, 3, 4, 5]

describe("five commands at once", () => {
  it.live("LOOP-14 connect the same server with one flow and one code, and every one of them then has its token", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const running = yield* Effect.forEach(
        five,
        () => valetkey.start(["connect", provider.resource, "--name", "fake", "--no-browser"]),
        { concurrency: "unbounded" }
      )
      const urls: Array<string> = []
      let lost = 0
      yield* Effect.forEach(running, (one) =>
        Effect.forkScoped(
          Effect.exit(one.saw("stdout", /https?:\/\/\S+/)).pipe(
            Effect.tap((exit) => Effect.sync(() => void (Exit.isSuccess(exit) ? urls.push(exit.value[0]) : lost++)))
          )
        ))
      // Whoever came too late has left before anybody consents.
      yield* Valetkey.until(() => urls.length + lost === 5)
      assert.deepStrictEqual([urls.length, lost], [1, 4])
      yield* UserAgent.make().authorize(urls[0] ?? "")
      const ended = yield* Effect.all(running.map((one) => one.ended), { concurrency: "unbounded" })
      const codes = ended.map(({ code }) => code)
      assert.deepStrictEqual(codes.toSorted(), [0, 1, 1, 1, 1])
      for (const { code, stderr } of ended) {
        if (code === 1) assert.include(stderr, "A flow of this connection is still open")
        assert.notInclude(stderr, "invalid_grant")
      }
      const tokens = yield* Effect.all(five.map(() => valetkey.run(["token", "fake"])), { concurrency: "unbounded" })
      assert.strictEqual(new Set(tokens.map(({ stdout }) => stdout)).size, 1)
      for (const { code, stderr } of tokens) assert.strictEqual(code, 0, stderr)
      assert.strictEqual(provider.requests("token").length, 1)
      assert.isTrue(provider.requests("token").every(({ status }) => status === 200))
    })))

  it.live("LOOP-14 leave the server to the one whose flow is open, although another added it", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const problem = (status: number, code: string) => ({
        status,
        type: "application/problem+json",
        body: { type: `https://valetkey.dev/problems/${code}`, title: code, status, code, detail: "A safe sentence" }
      })
      let startCode = "flow_conflict"
      const stub = yield* StubServer.make(valetkey, ({ method }) => {
        if (method === "GET") return problem(404, "server_not_found")
        const server = { server: "x", resource: "https://x.example/", quirks: {} }
        return method === "PUT" ? { status: 201, body: { created: true, server } } : problem(409, startCode)
      })
      const lost = yield* valetkey.json(["connect", "https://x.example", "--name", "x"])
      assert.strictEqual(lost.error.code, "flow_conflict")
      assert.notInclude(stub.requests, "DELETE /v1/servers/x")
      startCode = "metadata_invalid"
      yield* valetkey.json(["connect", "https://x.example", "--name", "x"])
      assert.include(stub.requests, "DELETE /v1/servers/x")
    })))
})
