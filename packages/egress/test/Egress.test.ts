import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Redacted, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import type { Socket } from "node:net"
import { inspect } from "node:util"
import { gzipSync } from "node:zlib"
import * as AddressPolicy from "../src/AddressPolicy.ts"
import { Egress, type EgressOptions, type EgressRequest } from "../src/Egress.ts"
import * as Peer from "./Peer.ts"

const layer = Egress.layer({ policy: AddressPolicy.local() })
const loopback = { trust: "loopback" } as const

const execute = (request: EgressRequest, options: EgressOptions = loopback) =>
  Effect.flatMap(Egress, (egress) => egress.execute(request, options))

const failureOf = (request: EgressRequest, options: EgressOptions = loopback) => Effect.flip(execute(request, options))

const post = (url: string): EgressRequest => ({ method: "POST", url, body: "grant_type=refresh_token" })

const text = (body: Uint8Array) => Buffer.from(body).toString()

describe("execute", () => {
  it.effect("sends a request and reads the whole response", () =>
    Effect.gen(function*() {
      const peer = yield* Peer.open((socket) => {
        socket.write("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
        socket.write("HTTP/1.1 401 No\r\nwww-authenticate: A\r\nwww-authenticate: B\r\nset-cookie: c=1\r\n")
        socket.end("content-length: 5\r\n\r\nhello")
      })
      const response = yield* execute({
        method: "POST",
        url: `${peer.url}/token?a=b`,
        headers: { Authorization: Redacted.make("Basic xyz"), "content-type": "text/plain" },
        body: Redacted.make("payload")
      })
      assert.strictEqual(response.status, 401)
      assert.strictEqual(text(response.body), "hello")
      assert.strictEqual(response.headers["www-authenticate"], "A, B")
      assert.isUndefined(response.headers["set-cookie"])
      assert.match(peer.received(), /^POST \/token\?a=b HTTP\/1\.1\r\n/)
      assert.match(peer.received(), /\r\nauthorization: Basic xyz\r\n/)
      assert.match(peer.received(), /\r\n\r\npayload$/)
    }).pipe(Effect.provide(layer)))

  it.effect("SSRF-14 asks for identity, and keeps the connection's headers to itself", () =>
    Effect.gen(function*() {
      const peer = yield* Peer.open((socket) => socket.end(Peer.response("")))
      yield* execute({
        method: "GET",
        url: peer.url,
        headers: { "Accept-Encoding": "gzip", Host: "elsewhere", Connection: "upgrade", "Transfer-Encoding": "chunked" }
      })
      assert.match(peer.received(), /\r\naccept-encoding: identity\r\n/)
      assert.match(peer.received(), new RegExp(`\\r\\nhost: 127\\.0\\.0\\.1:${peer.port}\\r\\n`))
      assert.notMatch(peer.received(), /gzip|elsewhere|upgrade|chunked/)
    }).pipe(Effect.provide(layer)))

  it.effect("SSRF-06 I15 never follows a redirect", () =>
    Effect.gen(function*() {
      const target = yield* Peer.open((socket) => socket.end(Peer.response("target")))
      for (const status of [301, 302, 303, 307, 308]) {
        const peer = yield* Peer.open((socket) =>
          socket.end(Peer.response("", `HTTP/1.1 ${status} Moved\r\nlocation: ${target.url}/`))
        )
        const error = yield* failureOf(post(peer.url))
        assert.deepInclude(error.reason, { _tag: "Redirected", status })
        assert.isTrue(error.sent)
        assert.notInclude(inspect(error), target.url)
        const looked = yield* execute(post(peer.url), { ...loopback, redirect: "response" })
        assert.strictEqual(looked.status, status)
        assert.strictEqual(looked.headers.location, `${target.url}/`)
      }
      assert.strictEqual(target.connections(), 0)
    }).pipe(Effect.provide(layer)))

  it.effect("SSRF-10 ignores the proxies of the environment", () =>
    Effect.gen(function*() {
      const proxy = yield* Peer.open((socket) => socket.end(Peer.response("proxy")))
      const names = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "NODE_USE_ENV_PROXY"]
      yield* Effect.acquireRelease(
        Effect.sync(() => names.forEach((name) => process.env[name] = name.startsWith("NODE") ? "1" : proxy.url)),
        () => Effect.sync(() => names.forEach((name) => delete process.env[name]))
      )
      const peer = yield* Peer.open((socket) => socket.end(Peer.response("direct")))
      assert.strictEqual(text((yield* execute({ method: "GET", url: peer.url })).body), "direct")
      assert.strictEqual(proxy.connections(), 0)
    }).pipe(Effect.provide(layer)))

  it.effect("gives every POST a connection of its own and lets GETs share one", () =>
    Effect.gen(function*() {
      const peer = yield* Peer.open((socket) => socket.write(Peer.response("ok")))
      const get = (keepAlive?: boolean) => execute({ method: "GET", url: peer.url }, { ...loopback, keepAlive })
      for (let round = 0; round < 10; round++) yield* get()
      const shared = peer.connections()
      assert.isBelow(shared, 10)
      for (let round = 1; round <= 3; round++) {
        yield* execute(post(peer.url))
        yield* get(false)
        assert.match(peer.received().slice(peer.received().lastIndexOf("POST")), /\r\nconnection: close\r\n/)
        assert.strictEqual(peer.connections(), shared + 2 * round)
      }
    }).pipe(Effect.provide(layer)))

  it.effect("LEAK-03 quotes no header, body or URL in an error", () =>
    Effect.gen(function*() {
      const error = yield* failureOf({
        method: "POST",
        url: "http://127.0.0.1:9/CANARY-path?CANARY-query",
        headers: { authorization: "CANARY-\nheader" },
        body: "CANARY-body"
      })
      assert.deepInclude(error.reason, { _tag: "Refused", rule: "request" })
      const port = yield* Peer.closedPort
      const unreachable = yield* failureOf(post(`http://127.0.0.1:${port}/CANARY-path`))
      for (const shown of [error, unreachable]) {
        assert.notInclude(inspect(shown, { depth: 9 }) + JSON.stringify(shown) + String(shown.stack), "CANARY")
      }
    }).pipe(Effect.provide(layer)))
})

describe("caps", () => {
  it.effect("SSRF-14 stops an endless body at the cap and closes the connection", () =>
    Effect.gen(function*() {
      let written = 0
      const peer = yield* Peer.open((socket) => {
        const piece = "x".repeat(16 * 1024)
        const flood = () => {
          while (!socket.destroyed) {
            written += piece.length
            if (!socket.write(`4000\r\n${piece}\r\n`)) return void socket.once("drain", flood)
          }
        }
        socket.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        flood()
      })
      const error = yield* failureOf({ method: "GET", url: peer.url })
      assert.deepInclude(error.reason, { _tag: "TooLarge", limit: 1024 * 1024 })
      assert.isTrue(error.sent)
      yield* peer.closed
      assert.isBelow(written, 32 * 1024 * 1024)
    }).pipe(Effect.provide(layer)))

  it.effect("SSRF-14 takes a body of exactly the cap and refuses one byte more, announced or not", () =>
    Effect.gen(function*() {
      const capped = { ...loopback, maxBytes: 5120 }
      const exact = yield* Peer.open((socket) => socket.end(Peer.response("x".repeat(5120))))
      assert.strictEqual((yield* execute({ method: "GET", url: exact.url }, capped)).body.byteLength, 5120)
      const announced = yield* Peer.open((socket) => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 5121\r\n\r\n"))
      assert.strictEqual((yield* failureOf({ method: "GET", url: announced.url }, capped)).reason._tag, "TooLarge")
      const silent = yield* Peer.open((socket) => socket.end(`HTTP/1.1 200 OK\r\n\r\n${"x".repeat(5121)}`))
      assert.strictEqual((yield* failureOf({ method: "GET", url: silent.url }, capped)).reason._tag, "TooLarge")
    }).pipe(Effect.provide(layer)))

  it.effect("SSRF-14 does not inflate a compressed body", () =>
    Effect.gen(function*() {
      const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024))
      const peer = yield* Peer.open((socket) => {
        socket.write(`HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: ${bomb.byteLength}\r\n\r\n`)
        socket.end(bomb)
      })
      assert.deepStrictEqual(Buffer.from((yield* execute({ method: "GET", url: peer.url })).body), bomb)
    }).pipe(Effect.provide(layer)))

  it.effect("SSRF-14 stops a slow drip at the deadline, however steadily it comes", () =>
    Effect.gen(function*() {
      const dripping = yield* Deferred.make<Socket>()
      const peer = yield* Peer.open((socket) => {
        socket.write("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nx")
        Deferred.doneUnsafe(dripping, Effect.succeed(socket))
      })
      const fiber = yield* Effect.forkChild(failureOf(post(peer.url)))
      const socket = yield* Deferred.await(dripping)
      for (let second = 0; second < 15; second++) {
        yield* Effect.callback<void>((resume) => void socket.write("x", () => resume(Effect.void)))
        yield* TestClock.adjust("1 second")
      }
      const error = yield* Fiber.join(fiber)
      assert.deepInclude(error.reason, { _tag: "Timeout", phase: "total", sent: true })
      yield* peer.closed
    }).pipe(Effect.provide(layer)))

  it.live("SSRF-14 gives up on a body that stands still", () =>
    Effect.gen(function*() {
      const peer = yield* Peer.open((socket) => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"))
      const error = yield* failureOf(post(peer.url), { ...loopback, idleTimeout: "20 millis" })
      assert.deepInclude(error.reason, { _tag: "Timeout", phase: "body", sent: true })
    }).pipe(Effect.provide(layer)))
})

describe("sent", () => {
  it.effect("is false when the connection is refused", () =>
    Effect.gen(function*() {
      const error = yield* failureOf(post(`http://127.0.0.1:${yield* Peer.closedPort}/`))
      assert.deepInclude(error.reason, { _tag: "Unreachable", detail: "ECONNREFUSED" })
      assert.isFalse(error.sent)
    }).pipe(Effect.provide(layer)))

  it.effect("is false when the name does not resolve", () =>
    Effect.gen(function*() {
      const error = yield* failureOf(post("https://nowhere.example/"))
      assert.deepInclude(error.reason, { _tag: "Unreachable", detail: "ENOTFOUND" })
      assert.isFalse(error.sent)
    }).pipe(Effect.provide(Egress.layer({
      policy: AddressPolicy.globalOnly(),
      resolve: () => Promise.reject(Object.assign(new Error("nowhere.example"), { code: "ENOTFOUND" }))
    }))))

  it.effect("is false when the deadline passes during name resolution", () =>
    Effect.gen(function*() {
      const asked = yield* Deferred.make<void>()
      const hanging = Egress.layer({
        policy: AddressPolicy.globalOnly(),
        resolve: () => {
          Deferred.doneUnsafe(asked, Effect.void)
          return new Promise(() => undefined)
        }
      })
      const fiber = yield* Effect.forkChild(Effect.provide(failureOf(post("https://slow.example/")), hanging))
      yield* Deferred.await(asked)
      yield* TestClock.adjust("10 seconds")
      assert.deepInclude((yield* Fiber.join(fiber)).reason, { _tag: "Timeout", phase: "connect", sent: false })
    }))

  it.effect("stays false: a request that timed out before it was written is not written later", () =>
    Effect.gen(function*() {
      const peer = yield* Peer.open()
      const endpoint = `slow.example:${peer.port}`
      const asked = yield* Deferred.make<(addresses: ReadonlyArray<string>) => void>()
      const late = Egress.layer({
        policy: AddressPolicy.globalOnly({ allow: [endpoint] }),
        resolve: () => new Promise((resolve) => Deferred.doneUnsafe(asked, Effect.succeed(resolve)))
      })
      yield* Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(failureOf({ method: "GET", url: `http://${endpoint}/` }))
        const answer = yield* Deferred.await(asked)
        yield* TestClock.adjust("10 seconds")
        assert.isFalse((yield* Fiber.join(fiber)).sent)
        answer(["127.0.0.1"])
        yield* peer.closed
        assert.strictEqual(peer.received(), "")
      }).pipe(Effect.provide(late))
    }))

  it.effect("is false when TLS never comes about", () =>
    Effect.gen(function*() {
      const peer = yield* Peer.open((socket) => socket.end())
      const plain = yield* failureOf(post(`https://127.0.0.1:${peer.port}/`)).pipe(Effect.forkChild)
      yield* TestClock.adjust("10 seconds")
      const error = yield* Fiber.join(plain)
      assert.isFalse(error.sent)
      assert.notInclude(peer.received(), "grant_type")
    }).pipe(Effect.provide(layer)))

  it.effect("is true when the connection is reset after the request", () =>
    Effect.gen(function*() {
      const peer = yield* Peer.open((socket) => socket.resetAndDestroy())
      const error = yield* failureOf(post(peer.url))
      assert.strictEqual(error.reason._tag, "Interrupted")
      assert.isTrue(error.sent)
    }).pipe(Effect.provide(layer)))

  it.effect("is true when the connection closes without an answer", () =>
    Effect.gen(function*() {
      const peer = yield* Peer.open((socket) => socket.end())
      const error = yield* failureOf(post(peer.url))
      assert.strictEqual(error.reason._tag, "Interrupted")
      assert.isTrue(error.sent)
      assert.strictEqual(peer.connections(), 1)
    }).pipe(Effect.provide(layer)))

  it.effect("is true when the endpoint hangs", () =>
    Effect.gen(function*() {
      const peer = yield* Peer.open()
      const fiber = yield* Effect.forkChild(failureOf(post(peer.url)))
      yield* peer.requested
      yield* TestClock.adjust("10 seconds")
      assert.deepInclude((yield* Fiber.join(fiber)).reason, { _tag: "Timeout", phase: "headers", sent: true })
      yield* peer.closed
    }).pipe(Effect.provide(layer)))

  it.effect("is true when the body is shorter than announced", () =>
    Effect.gen(function*() {
      const peer = yield* Peer.open((socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"access"))
      const error = yield* failureOf(post(peer.url))
      assert.strictEqual(error.reason._tag, "Interrupted")
      assert.isTrue(error.sent)
    }).pipe(Effect.provide(layer)))

  it.effect("is true when a chunked body breaks off", () =>
    Effect.gen(function*() {
      const peer = yield* Peer.open((socket) =>
        socket.end("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nabcd\r\n")
      )
      assert.isTrue((yield* failureOf(post(peer.url))).sent)
    }).pipe(Effect.provide(layer)))

  it.effect("is true when the answer is not HTTP", () =>
    Effect.gen(function*() {
      const peer = yield* Peer.open((socket) => socket.end("SSH-2.0-OpenSSH\r\n"))
      const error = yield* failureOf(post(peer.url))
      assert.strictEqual(error.reason._tag, "Interrupted")
      assert.isTrue(error.sent)
    }).pipe(Effect.provide(layer)))

  it.effect("is true, and the request is not repeated, when a shared connection dies under it", () =>
    Effect.gen(function*() {
      const peer = yield* Peer.open((socket, request) =>
        request === 1 ? void socket.write(Peer.response("ok")) : void socket.destroy()
      )
      yield* execute({ method: "GET", url: peer.url })
      const error = yield* failureOf({ method: "GET", url: peer.url })
      assert.isTrue(error.sent)
      assert.strictEqual(peer.received().split("GET / ").length - 1, 2)
    }).pipe(Effect.provide(layer)))

  it.effect("follows an abort: false before the request is written, true after", () =>
    Effect.gen(function*() {
      const before = yield* failureOf(post("http://127.0.0.1:9/"), { ...loopback, signal: AbortSignal.abort() })
      assert.deepInclude(before.reason, { _tag: "Interrupted", sent: false })

      const controller = new AbortController()
      const peer = yield* Peer.open()
      const fiber = yield* Effect.forkChild(failureOf(post(peer.url), { ...loopback, signal: controller.signal }))
      yield* peer.requested
      controller.abort()
      assert.deepInclude((yield* Fiber.join(fiber)).reason, { _tag: "Interrupted", sent: true })
      yield* peer.closed
    }).pipe(Effect.provide(layer)))
})

describe("stream", () => {
  it.effect("passes bodies through in both directions", () =>
    Effect.gen(function*() {
      const egress = yield* Egress
      const peer = yield* Peer.open((socket, seen) => {
        // The second blank line is the end of the chunked request body.
        if (seen === 2) socket.write("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc")
      })
      const body = (async function*() {
        yield Buffer.from("one")
        yield Buffer.from("two")
      })()
      const response = yield* egress.stream({ method: "PUT", url: peer.url, body }, loopback)
      assert.strictEqual(response.status, 200)
      const first = yield* Stream.runHead(response.body)
      assert.strictEqual(first._tag === "Some" ? text(first.value) : "", "abc")
      assert.match(peer.received(), /one[^]*two/)
    }).pipe(Effect.provide(layer)))

  it.effect("reads to the end, past the point where the socket is paused", () =>
    Effect.gen(function*() {
      const egress = yield* Egress
      const size = 4 * 1024 * 1024
      const peer = yield* Peer.open((socket) => socket.end(Peer.response("x".repeat(size))))
      const response = yield* egress.stream({ method: "GET", url: peer.url }, loopback)
      const total = yield* Stream.runFold(response.body, () => 0, (sum, chunk) => sum + chunk.byteLength)
      assert.strictEqual(total, size)
    }).pipe(Effect.provide(layer)))

  it.effect("fails in the middle with the reason, and closes with its scope", () =>
    Effect.gen(function*() {
      const egress = yield* Egress
      const broken = yield* Peer.open((socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"))
      const half = yield* egress.stream({ method: "GET", url: broken.url }, loopback)
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(half.body))).reason._tag, "Interrupted")

      const peer = yield* Peer.open((socket) => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"))
      const scope = yield* Scope.make()
      yield* Scope.provide(egress.stream({ method: "GET", url: peer.url }, loopback), scope)
      yield* Scope.close(scope, Exit.void)
      yield* peer.closed
    }).pipe(Effect.provide(layer)))
})
