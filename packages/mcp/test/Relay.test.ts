import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Queue } from "effect"
import { began, client, endpoint, event, json, result, scoped, stream, withSessions } from "./support/Relaying.ts"

describe("the relay", () => {
  it.live("passes on what it does not know, one message to a line, and says what is none", () =>
    scoped(Effect.gen(function*() {
      const { seen, url } = yield* endpoint(({ message }, response) =>
        json(response, { ...result(message.id), extra: [1] })
      )
      const { end, hear, line, say } = yield* client(url)
      yield* say({ id: "a", method: "vendor/new", params: { deep: { "😀": "\u2028" } }, extra: true })
      assert.deepStrictEqual(yield* hear, { ...result("a"), extra: [1] })
      assert.deepStrictEqual(seen[0]?.message.params, { deep: { "😀": "\u2028" } })
      assert.isTrue(seen[0]?.message.extra)
      for (const text of ["{", "[]", "{\"id\":1}", "{\"jsonrpc\":\"2.0\"}"]) {
        yield* line(text)
        assert.deepInclude(yield* hear, { id: null })
      }
      yield* line(JSON.stringify([1, 2].map((id) => ({ jsonrpc: "2.0", id, method: "ping" }))))
      const ids = [(yield* hear).id, (yield* hear).id]
      assert.sameMembers(ids, [1, 2])
      yield* end
      assert.strictEqual(seen.length, 3)
    })))

  it.live("begins a lost session anew, once for all requests, and sends each again", () =>
    scoped(Effect.gen(function*() {
      const held: Array<() => void> = []
      const { methods, seen, url } = yield* withSessions(({ headers, message }, response, session) => {
        if (headers["mcp-session-id"] === "session-1") {
          // Both have left before either is refused.
          held.push(() => {
            response.writeHead(message.id === 1 ? 404 : 400, { "content-type": "application/json" })
            response.end(
              JSON.stringify({ jsonrpc: "2.0", id: null, error: { code: -32000, message: "No valid session ID" } })
            )
          })
          if (held.length === 2) held.forEach((refuse) => refuse())
          return
        }
        return json(response, result(message.id, { session, version: headers["mcp-protocol-version"] }))
      })
      const { begin, end, hear, say } = yield* client(url)
      assert.deepStrictEqual((yield* begin).result, began)
      yield* say({ id: 1, method: "tools/call", params: {} })
      yield* say({ id: 2, method: "tools/call", params: {} })
      const heard = [yield* hear, yield* hear, yield* hear]
      assert.sameDeepMembers(heard, [
        { jsonrpc: "2.0", method: "notifications/tools/list_changed" },
        result(1, { session: 2, version: "2025-06-18" }),
        result(2, { session: 2, version: "2025-06-18" })
      ])
      assert.strictEqual(methods().filter((method) => method === "initialize").length, 2)
      const [first, second] = seen.filter(({ message }) => message.method === "initialize")
      assert.deepStrictEqual(second?.message.params, first?.message.params)
      assert.notStrictEqual(second?.message.id, first?.message.id)
      yield* end
      assert.strictEqual(seen.at(-1)?.method, "DELETE")
      assert.strictEqual(seen.at(-1)?.headers["mcp-session-id"], "session-2")
    })))

  it.live("does not go on with a server that came back with another protocol version", () =>
    scoped(Effect.gen(function*() {
      const { url } = yield* withSessions(
        (_, response) => void response.writeHead(404).end(),
        (session) => ({ ...began, protocolVersion: session === 1 ? began.protocolVersion : "2024-11-05" })
      )
      const { begin, hear, say } = yield* client(url)
      yield* begin
      yield* say({ id: 1, method: "tools/call", params: {} })
      assert.deepInclude((yield* hear).error?.data as object, { code: "protocol_changed" })
    })))

  it.live("asks again what only reads when a stream ends without the answer, and says of a call that nobody knows", () =>
    scoped(Effect.gen(function*() {
      let broken = 0
      const { methods, url } = yield* endpoint(({ message }, response) => {
        if (broken++ < 2) return void stream(response, event({ jsonrpc: "2.0", method: "notifications/message" })).end()
        stream(response, event(result(message.id, { list: true }))).end()
      })
      const { hear, say } = yield* client(url)
      yield* say({ id: 1, method: "tools/call", params: {} })
      assert.strictEqual((yield* hear).method, "notifications/message")
      assert.deepInclude((yield* hear).error?.data as object, { code: "resource_interrupted" })
      yield* say({ id: 2, method: "tools/list" })
      assert.strictEqual((yield* hear).method, "notifications/message")
      assert.deepStrictEqual(yield* hear, result(2, { list: true }))
      assert.deepStrictEqual(methods(), ["tools/call", "tools/list", "tools/list"])
    })))

  it.live("resumes after the last event that it passed on, as late as the server wants", () =>
    scoped(Effect.gen(function*() {
      const { seen, url } = yield* endpoint(({ headers, message, method }, response) => {
        const told = (n: number) => `id: ${n}\n${event({ jsonrpc: "2.0", method: `notifications/${n}` })}`
        if (method === "POST") {
          return void (message.method === "tools/call"
            ? stream(response, "retry: 1", "id: 0\ndata: ", told(1)).end()
            : response.end())
        }
        const last = Number(headers["last-event-id"])
        if (last < 3) return void stream(response, told(last + 1)).end()
        stream(response, event(result(7, { done: true }))).end()
      })
      const { hear, say } = yield* client(url)
      yield* say({ id: 7, method: "tools/call", params: {} })
      const heard = [yield* hear, yield* hear, yield* hear, yield* hear]
      assert.deepStrictEqual(heard.map(({ id, method }) => method ?? id), [
        "notifications/1",
        "notifications/2",
        "notifications/3",
        7
      ])
      assert.deepStrictEqual(seen.map(({ headers }) => headers["last-event-id"]), [undefined, "1", "2", "3"])
    })))

  it.live("lets nothing overtake a message that is not answered, and passes the server's own error on", () =>
    scoped(Effect.gen(function*() {
      const arrived = yield* Deferred.make<() => void>()
      const { methods, url } = yield* endpoint(({ message }, response) => {
        if (message.method === undefined) return void response.end()
        if (message.method === "notifications/slow") {
          return void Deferred.doneUnsafe(arrived, Effect.succeed(() => void response.writeHead(202).end()))
        }
        response.writeHead(400, { "content-type": "application/json" })
        response.end(JSON.stringify({ jsonrpc: "2.0", id: null, error: { code: -32602, message: "no", data: 1 } }))
      })
      const { hear, say } = yield* client(url)
      yield* say({ method: "notifications/slow" })
      yield* say({ id: 1, method: "tools/call" })
      const accept = yield* Deferred.await(arrived)
      // Round trips, in which whoever does not wait would have left.
      for (let n = 0; n < 5; n++) yield* Effect.promise(() => fetch(url).then((response) => response.text()))
      assert.deepStrictEqual(methods(), ["notifications/slow", ...Array(5).fill("GET")])
      accept()
      assert.deepStrictEqual(yield* hear, { jsonrpc: "2.0", id: 1, error: { code: -32602, message: "no", data: 1 } })
    })))

  it.live("reads no further than the client has taken", () =>
    scoped(Effect.gen(function*() {
      const { url } = yield* endpoint(({ message }, response) => {
        if (message.method === undefined) return void response.writeHead(405).end()
        const events = Array.from({ length: 50 }, (_, n) => event({ jsonrpc: "2.0", method: `notifications/${n}` }))
        stream(response, ...events, event(result(message.id))).end()
      })
      const turns = yield* Queue.unbounded<Deferred.Deferred<void>>()
      const lines: Array<string> = []
      const { say } = yield* client(url, {
        write: (line) =>
          Effect.suspend(() => {
            lines.push(line)
            const turn = Deferred.makeUnsafe<void>()
            return Effect.andThen(Queue.offer(turns, turn), Deferred.await(turn))
          })
      })
      yield* say({ id: 1, method: "tools/call" })
      for (let n = 0; n < 51; n++) {
        const turn = yield* Queue.take(turns)
        // A round trip, in which whoever reads ahead would have done so.
        yield* Effect.promise(() => fetch(url))
        assert.strictEqual(lines.length, n + 1)
        yield* Deferred.succeed(turn, undefined)
      }
      assert.deepStrictEqual(lines.map((line) => JSON.parse(line).method), [
        ...Array.from({ length: 50 }, (_, n) => `notifications/${n}`),
        undefined
      ])
    })))

  it.live("routes messages of the revision without sessions, and ends a request to cancel it", () =>
    scoped(Effect.gen(function*() {
      const params = (more: object) => ({ _meta: { "io.modelcontextprotocol/protocolVersion": "2026-07-28" }, ...more })
      const tool = {
        name: "größe",
        inputSchema: {
          type: "object",
          properties: {
            region: { type: "string", "x-mcp-header": "Region" },
            at: { type: "object", properties: { level: { type: "integer", "x-mcp-header": "Level" } } },
            bad: { type: "string", "x-mcp-header": "in valid" }
          }
        }
      }
      const { methods, seen, url } = yield* endpoint(({ message }, response) => {
        if (message.method === "tools/list") return json(response, result(message.id, { tools: [tool] }))
        if (message.params?.["name"] === "größe") return json(response, result(message.id))
        stream(response, event({ jsonrpc: "2.0", method: "notifications/progress" }))
      })
      const { end, hear, say } = yield* client(url)
      yield* say({ id: 1, method: "tools/list", params: params({}) })
      yield* hear
      yield* say({
        id: 2,
        method: "tools/call",
        params: params({ name: "größe", arguments: { region: "eu", at: { level: 3 }, bad: "x" } })
      })
      yield* hear
      const { headers } = seen[1]!
      assert.strictEqual(headers["mcp-protocol-version"], "2026-07-28")
      assert.strictEqual(headers["mcp-method"], "tools/call")
      assert.strictEqual(headers["mcp-name"], `=?base64?${Buffer.from("größe").toString("base64")}?=`)
      const routed = Object.entries(headers).filter(([name]) => name.startsWith("mcp-param"))
      assert.deepStrictEqual(routed, [["mcp-param-region", "eu"], ["mcp-param-level", "3"]])

      yield* say({ id: 3, method: "tools/call", params: params({ name: "long" }) })
      yield* hear
      yield* say({ method: "notifications/cancelled", params: { requestId: 3 } })
      yield* Effect.promise(() => seen[2]!.closed)
      yield* end
      assert.deepStrictEqual(methods(), ["tools/list", "tools/call", "tools/call"])
    })))
})
