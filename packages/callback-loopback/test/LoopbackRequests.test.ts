import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { rightState } from "./internal/flow.ts"
import { callback, completes, open, right } from "./internal/listener.ts"
import { converse, knock, visit } from "./internal/visitor.ts"

describe("LoopbackTransport", () => {
  it.live("S1x.3 LOOP-07 LOOP-12 answers other paths with 404, offers nothing else, and stays pending", () =>
    Effect.gen(function*() {
      const opened = yield* open()
      const paths = [
        "/",
        "/favicon.ico",
        "/callback",
        "/robots.txt",
        "/wait-for-auth",
        "/cb",
        `${opened.url.pathname}/`
      ]
      for (const path of [...paths, `/x/..${opened.url.pathname}`]) {
        const head = `GET ${path}?state=${rightState}&code=x HTTP/1.1\r\nhost: ${opened.url.host}\r\n\r\n`
        const answer = yield* converse(opened.port, head)
        assert.match(answer, /^HTTP\/1\.1 404 /, path)
        assert.notMatch(answer, /access-control/i)
      }
      assert.deepStrictEqual(opened.flow.delivered, [])
      yield* completes(opened)
    }).pipe(Effect.scoped))

  it.live("LOOP-06 refuses a Host that is not its own", () =>
    Effect.gen(function*() {
      const opened = yield* open()
      for (const host of ["evil.example", `localhost:${opened.port}`, `127.0.0.1:${opened.port + 1}`, "127.0.0.1"]) {
        const answer = yield* visit(right(opened.redirectUri), { headers: { host } })
        assert.strictEqual(answer.status, 421, host)
      }
      assert.deepStrictEqual(opened.flow.delivered, [])
      yield* completes(opened)
    }).pipe(Effect.scoped))

  it.live("FLOW-07 FLOW-09 answers HEAD, POST and CORS preflight with 405 and changes nothing", () =>
    Effect.gen(function*() {
      const opened = yield* open()
      for (const method of ["HEAD", "POST", "OPTIONS", "PUT", "DELETE"]) {
        const answer = yield* visit(right(opened.redirectUri), {
          method,
          headers: { origin: "https://evil.example", "access-control-request-private-network": "true" }
        })
        assert.strictEqual(answer.status, 405, method)
        assert.strictEqual(answer.headers["allow"], "GET")
        assert.isEmpty(Object.keys(answer.headers).filter((name) => name.startsWith("access-control")))
      }
      assert.deepStrictEqual(opened.flow.delivered, [])
      yield* completes(opened)
    }).pipe(Effect.scoped))

  it.live("FLOW-08 answers a prefetch with 204 and leaves the code for the person", () =>
    Effect.gen(function*() {
      const opened = yield* open()
      const prefetches: ReadonlyArray<Readonly<Record<string, string>>> = [
        { "sec-purpose": "prefetch" },
        { "sec-purpose": "prefetch;prerender" },
        { purpose: "prefetch" },
        { "x-moz": "prefetch" }
      ]
      for (const headers of prefetches) {
        const answer = yield* visit(right(opened.redirectUri), { headers })
        assert.strictEqual(answer.status, 204)
        assert.strictEqual(answer.body, "")
      }
      assert.deepStrictEqual(opened.flow.delivered, [])
      yield* completes(opened)
    }).pipe(Effect.scoped))

  it.live("FLOW-10 refuses a repeated parameter in either order", () =>
    Effect.gen(function*() {
      const opened = yield* open()
      const queries = [
        `state=${rightState}&state=x&code=c`,
        `state=x&state=${rightState}&code=c`,
        `state=${rightState}&code=c&code=d`,
        `state=${rightState}&code=c&iss=a&iss=b`,
        `state=${rightState}&error=a&error=b`
      ]
      for (const query of queries) {
        assert.strictEqual((yield* visit(`${opened.redirectUri}?${query}`)).status, 400, query)
      }
      assert.deepStrictEqual(opened.flow.delivered, [])
      yield* completes(opened)
    }).pipe(Effect.scoped))

  it.live("FLOW-15 takes a code of 16 kB and refuses what is larger, cheaply", () =>
    Effect.gen(function*() {
      const opened = yield* open()
      const tooLong = [
        { state: "s".repeat(1025), code: "c" },
        { state: rightState, code: "c".repeat(16_385) },
        { state: rightState, code: "c", error_description: "d".repeat(33_000) }
      ]
      for (const parameters of tooLong) {
        assert.oneOf((yield* visit(callback(opened.redirectUri, parameters))).status, [400, 414])
      }
      const huge = yield* converse(opened.port, `GET /${"x".repeat(100_000)} HTTP/1.1\r\n\r\n`).pipe(
        Effect.catch(({ code }) => Effect.succeed(code ?? ""))
      )
      assert.match(huge, /^HTTP\/1\.1 431 |ECONNRESET|EPIPE/)
      assert.deepStrictEqual(opened.flow.delivered, [])
      const page = yield* Effect.forkChild(
        visit(callback(opened.redirectUri, { state: rightState, code: "c".repeat(16_384) }))
      )
      yield* opened.flow.claimed
      yield* opened.flow.settle("completed")
      assert.strictEqual((yield* Fiber.join(page)).status, 200)
    }).pipe(Effect.scoped))

  it.live(
    "S2x.9 S1x.5 FLOW-01 LOOP-08 keeps serving through wrong, missing and erroneous responses",
    () =>
      Effect.gen(function*() {
        const opened = yield* open()
        const wrong = [
          { code: "c" },
          { state: "", code: "c" },
          { state: "wrong", code: "c" },
          { error: "access_denied" },
          { state: "wrong", error: "access_denied" }
        ]
        for (let round = 0; round < 40; round++) {
          for (const parameters of wrong) {
            const answer = yield* visit(callback(opened.redirectUri, parameters as Readonly<Record<string, string>>))
            assert.strictEqual(answer.status, 400)
          }
        }
        yield* completes(opened)
      }).pipe(Effect.scoped),
    20_000
  )

  it.live("carries on when the browser goes away in the middle", () =>
    Effect.gen(function*() {
      const opened = yield* open()
      const page = yield* Effect.forkChild(visit(right(opened.redirectUri)))
      yield* opened.flow.claimed
      yield* Fiber.interrupt(page)
      yield* opened.flow.settle("completed")
      assert.strictEqual((yield* visit(right(opened.redirectUri))).status, 200)
    }).pipe(Effect.scoped))

  it.live("LOOP-09 ends a visitor who does not finish its request, and answers the others meanwhile", () =>
    Effect.gen(function*() {
      const opened = yield* open(undefined, { headersTimeout: "200 millis", maxSockets: 4 })
      const slow = yield* Effect.forkChild(converse(opened.port, "GET / HTTP/1.1\r\nhost: slow\r\nx-"))
      yield* completes(opened)
      assert.match(yield* Fiber.join(slow), /^HTTP\/1\.1 408 /)
    }).pipe(Effect.scoped))

  it.live("LOOP-09 holds no more sockets than it allows", () =>
    Effect.gen(function*() {
      const opened = yield* open(undefined, { headersTimeout: "200 millis", maxSockets: 2 })
      const knocks = yield* Effect.all([knock(opened.port), knock(opened.port), knock(opened.port)])
      const ended = yield* Effect.raceAll(
        knocks.map((socket, index) =>
          Effect.callback<number>((resume) => {
            socket.once("close", () => resume(Effect.succeed(index)))
          })
        )
      )
      assert.strictEqual(ended, 2)
      for (const socket of knocks) socket.destroy()
    }).pipe(Effect.scoped))
})
