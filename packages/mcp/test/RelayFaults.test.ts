import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Latch, Queue } from "effect"
import * as TestClock from "effect/testing/TestClock"
import { client, endpoint, result, scoped, stream, withSessions } from "./support/Relaying.ts"

/** A `fetch` that fails with a cause once a session has begun, where the network cannot be made to. */
const failing = (cause: unknown) => {
  let calls = 0
  const via: typeof fetch = async (input, init) => {
    if (!String(init?.body).includes("tools/call")) return await fetch(input, init)
    if (calls++ === 0) throw new TypeError("fetch failed", { cause })
    return await fetch(input, init)
  }
  return { via, calls: () => calls }
}

const dialed = (code: string, syscall: string) => Object.assign(new Error(code), { code, syscall })

describe("the relay, where something goes wrong,", () => {
  it.live("makes a call again that never arrived, and none that broke on a connection", () =>
    scoped(Effect.gen(function*() {
      const { url } = yield* withSessions(({ message }, response) => {
        response.writeHead(200, { "content-type": "application/json" })
        response.end(JSON.stringify(result(message.id)))
      })
      for (
        const [cause, again] of [
          [dialed("EHOSTUNREACH", "connect"), true],
          [dialed("ENETUNREACH", "read"), false],
          [dialed("EHOSTUNREACH", "read"), false],
          [dialed("ENOTFOUND", "getaddrinfo"), true],
          [Object.assign(new Error(), { code: "UND_ERR_CONNECT_TIMEOUT" }), true],
          [
            new AggregateError([dialed("ECONNREFUSED", "connect"), dialed("ENETUNREACH", "connect")]),
            true
          ]
        ] as const
      ) {
        const { calls, via } = failing(cause)
        const { begin, end, hear, say } = yield* client(url, { via })
        yield* begin
        yield* say({ id: 1, method: "tools/call", params: {} })
        const { error, result } = yield* hear
        if (again) assert.deepStrictEqual([calls(), result], [2, {}], cause.message)
        else {
          assert.strictEqual(calls(), 1, cause.message)
          assert.deepInclude(error?.data as object, { code: "resource_interrupted" })
        }
        yield* end
      }
    })))

  it.live("takes a refusal for the loss of a session only where it speaks of that", () =>
    scoped(Effect.gen(function*() {
      const { methods, url } = yield* withSessions(({ message }, response) => {
        response.writeHead(400, { "content-type": "application/json" })
        response.end(JSON.stringify({ jsonrpc: "2.0", id: message.id, error: message.params?.["refuse"] }))
      })
      const { begin, hear, say } = yield* client(url)
      yield* begin
      for (
        const error of [
          { code: -32000, message: "sessionDate must be ISO" },
          { code: -32602, message: "Invalid session date" }
        ]
      ) {
        yield* say({ id: 1, method: "tools/call", params: { refuse: error } })
        assert.deepStrictEqual((yield* hear).error, error)
      }
      assert.strictEqual(methods().filter((method) => method === "initialize").length, 1)
    })))

  it.live("leaves a server some time between streams, whatever it says of that", () =>
    scoped(Effect.gen(function*() {
      const third = yield* Deferred.make<number>()
      const gets: Array<number> = []
      const { url } = yield* endpoint(({ message, method }, response) => {
        if (method === "POST") return void response.writeHead(202).end()
        assert.strictEqual(message.method, undefined)
        gets.push(performance.now())
        if (gets.length === 3) Deferred.doneUnsafe(third, Effect.succeed(gets[2]! - gets[0]!))
        stream(response, "retry: 0").end()
      })
      const { say } = yield* client(url)
      yield* say({ method: "notifications/initialized" })
      assert.isAtLeast(yield* Deferred.await(third), 190)
    })))

  it.effect("ends a call whose stream is resumed again and again without a word", () =>
    scoped(Effect.gen(function*() {
      let id = 0
      const via: typeof fetch = async () =>
        new Response(`retry: 60000\n\nid: ${id++}\ndata: \n\n`, { headers: { "content-type": "text/event-stream" } })
      const { hear, say } = yield* client(new URL("https://mcp.example.com/"), { via })
      yield* say({ id: 1, method: "tools/call" })
      const answer = yield* Effect.forkScoped(hear, { startImmediately: true })
      for (let turn = 0; turn < 5000 && answer.pollUnsafe() === undefined; turn++) {
        yield* TestClock.adjust("10 seconds")
        yield* Effect.promise(() => new Promise((resolve) => void setImmediate(resolve)))
      }
      assert.isDefined(answer.pollUnsafe(), `after ${id} streams`)
      assert.isAtLeast(id, 50)
    })))

  it.live("changes no number that it does not understand", () =>
    scoped(Effect.gen(function*() {
      const bodies: Array<string> = []
      const numbers = "[9007199254740993,-18446744073709551615,0.1000000000000000055511151231257827,1e400,12]"
      const via: typeof fetch = async (_, init) => {
        bodies.push(String(init?.body))
        return new Response(`{"jsonrpc":"2.0","id":18446744073709551615,"result":{"n":${numbers}}}`, {
          headers: { "content-type": "application/json" }
        })
      }
      const heard = yield* Deferred.make<string>()
      const { line } = yield* client(new URL("https://mcp.example.com/"), {
        via,
        write: (line) => Effect.asVoid(Deferred.succeed(heard, line))
      })
      yield* line(`{"jsonrpc":"2.0","id":18446744073709551615,"method":"tools/call","params":{"n":${numbers}}}`)
      assert.include(yield* Deferred.await(heard), `"n":${numbers}`)
      assert.include(bodies[0], `"n":${numbers}`)
    })))

  it.live("gives each request its own id back, however large, also where the server rounds it, and finds it to cancel it", () =>
    scoped(Effect.gen(function*() {
      const ids = ["9007199254740992", "9007199254740993", "-18446744073709551615", "1.0000000000000000001"]
      const bodies: Array<string> = []
      const begun = yield* Latch.make()
      const open = yield* Deferred.make<void>()
      const aborted = yield* Deferred.make<string>()
      const via: typeof fetch = async (_, init) => {
        const body = String(init?.body)
        const id = /"id":([-\d.]+)/.exec(body)?.[1] ?? ""
        if (id === "") return new Response(null, { status: 202 })
        init?.signal?.addEventListener("abort", () => Deferred.doneUnsafe(aborted, Effect.succeed(id)))
        if (bodies.push(body) === ids.length) begun.openUnsafe()
        await Effect.runPromise(Deferred.await(open))
        // One server holds such numbers, the other has only doubles.
        const echoed = id.startsWith("-") ? String(Number(id)) : id
        return new Response(`{"jsonrpc":"2.0","id":${echoed},"result":{"of":"${id}"}}`, {
          headers: { "content-type": "application/json" }
        })
      }
      const written = yield* Queue.unbounded<string>()
      const { line } = yield* client(new URL("https://mcp.example.com/"), {
        via,
        write: (line) => Effect.asVoid(Queue.offer(written, line))
      })
      for (const id of ids) yield* line(`{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{}}`)
      yield* begun.await
      for (const [index, id] of ids.entries()) assert.include(bodies[index], `"id":${id},`)
      const again = `{"jsonrpc":"2.0","id":${ids[1]},"method":"tools/call","params":{}}`
      yield* line(again)
      assert.include(yield* Queue.take(written), `"id":${ids[1]},"error"`)
      yield* line(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":${ids[1]}}}`)
      assert.strictEqual(yield* Deferred.await(aborted), ids[1])
      yield* Deferred.succeed(open, undefined)
      const answers = yield* Queue.takeN(written, 3)
      const told = answers.map((answer) => [/"id":([-\d.]+)/.exec(answer)?.[1], /"of":"([^"]*)"/.exec(answer)?.[1]])
      assert.sameDeepMembers(told, ids.filter((_, index) => index !== 1).map((id) => [id, id]))
    })))

  it.live("gives a server the id of its own request back, however large", () =>
    scoped(Effect.gen(function*() {
      const bodies = yield* Queue.unbounded<string>()
      const asked = `{"jsonrpc":"2.0","id":9007199254740993,"method":"roots/list"}`
      const via: typeof fetch = async (_, init) => {
        const body = String(init?.body)
        Queue.offerUnsafe(bodies, body)
        return body.includes("tools/call")
          ? new Response(`data: ${asked}\n\ndata: {"jsonrpc":"2.0","id":1,"result":{}}\n\n`, {
            headers: { "content-type": "text/event-stream" }
          })
          : new Response(null, { status: 202 })
      }
      const written = yield* Queue.unbounded<string>()
      const { line } = yield* client(new URL("https://mcp.example.com/"), {
        via,
        write: (line) => Effect.asVoid(Queue.offer(written, line))
      })
      yield* line(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}`)
      assert.strictEqual(yield* Queue.take(written), asked)
      yield* line(`{"jsonrpc":"2.0","id":9007199254740993,"result":{"roots":[]}}`)
      yield* Queue.take(bodies)
      assert.include(yield* Queue.take(bodies), `"id":9007199254740993,`)
    })))
})
