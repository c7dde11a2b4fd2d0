import { assert, describe, it } from "@effect/vitest"
import { LoopbackTransport } from "@valetkey/callback-loopback"
import { failureSentence } from "@valetkey/domain/Flow"
import { Effect, Exit, Fiber, Redacted, Scope } from "effect"
import { createServer } from "node:net"
import type { AddressInfo } from "node:net"
import { Server } from "node:net"
import { networkInterfaces } from "node:os"
import { vi } from "vitest"
import { pending, rightState } from "./internal/flow.ts"
import { converse, knock, visit } from "./internal/visitor.ts"

/** Opens a listener for a scripted flow in a scope of its own. */
const open = (preferred?: string, options?: LoopbackTransport.LoopbackOptions, onward?: Redacted.Redacted) =>
  Effect.gen(function*() {
    const transport = yield* LoopbackTransport.make(options)
    const flow = yield* pending(preferred, onward)
    const scope = yield* Scope.make()
    const { redirectUri } = yield* Scope.provide(transport.open(flow.request), scope)
    yield* Effect.addFinalizer((exit) => Scope.close(scope, exit))
    const url = new URL(redirectUri)
    return { flow, url, redirectUri, port: Number(url.port), close: Scope.close(scope, Exit.void) }
  })

const callback = (redirectUri: string, parameters: Readonly<Record<string, string>>): string =>
  `${redirectUri}?${new URLSearchParams(parameters)}`

const right = (redirectUri: string): string => callback(redirectUri, { state: rightState, code: "the-code" })

/** The right response still completes the flow: nothing before it changed anything. */
const completes = (opened: Effect.Success<ReturnType<typeof open>>) =>
  Effect.gen(function*() {
    const page = yield* Effect.forkChild(visit(right(opened.redirectUri)))
    yield* opened.flow.claimed
    yield* opened.flow.settle("completed")
    const answer = yield* Fiber.join(page)
    assert.strictEqual(answer.status, 200)
    assert.include(answer.body, "Connected")
  })

const refused = (port: number, host?: string) =>
  Effect.map(Effect.flip(knock(port, host)), ({ code }) => assert.strictEqual(code, "ECONNREFUSED"))

describe("LoopbackTransport", () => {
  it.live("S1.4 LOOP-03 puts the bound port and an unguessable path into the redirect URI, and accepts when it returns", () =>
    Effect.gen(function*() {
      const first = yield* open()
      const second = yield* open()
      assert.match(first.redirectUri, /^http:\/\/127\.0\.0\.1:\d+\/cb\/[\w-]{22}$/)
      assert.notStrictEqual(first.url.pathname, second.url.pathname)
      yield* completes(first)
      assert.strictEqual(Redacted.value(first.flow.delivered[0]!.code!), "the-code")
      assert.deepStrictEqual(second.flow.delivered, [])
    }).pipe(Effect.scoped))

  it.live("sends the browser on to the application that has to confirm, and does not wait for it", () =>
    Effect.gen(function*() {
      const onward = "https://app.example/connected?flow_id=f&completion_code=c"
      const { redirectUri } = yield* open(undefined, undefined, Redacted.make(onward))
      const answer = yield* visit(right(redirectUri))
      assert.deepStrictEqual([answer.status, answer.headers["location"], answer.body], [303, onward, ""])
      assert.strictEqual(answer.headers["referrer-policy"], "no-referrer")
      assert.strictEqual(answer.headers["cache-control"], "no-store")
    }).pipe(Effect.scoped))

  it.live("S1x.2 LOOP-01 listens on 127.0.0.1 and on no other interface", () =>
    Effect.gen(function*() {
      const { port } = yield* open()
      const others = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
        .filter(({ address, scopeid }) => address !== "127.0.0.1" && (scopeid ?? 0) === 0)
        .map(({ address }) => address)
      for (const address of [...others, "127.0.0.2"]) yield* refused(port, address)
    }).pipe(Effect.scoped))

  it.live("S1x.2 LOOP-03 opens the preferred port and path again when they are free, and another port when not", () =>
    Effect.gen(function*() {
      const before = yield* open()
      yield* before.close
      const again = yield* open(before.redirectUri)
      assert.strictEqual(again.redirectUri, before.redirectUri)
      const meanwhile = yield* open(before.redirectUri)
      assert.notStrictEqual(meanwhile.port, before.port)
      assert.strictEqual(meanwhile.url.pathname, before.url.pathname)
      yield* completes(meanwhile)
      yield* completes(again)
    }).pipe(Effect.scoped))

  it.live("LOOP-02 serves both families of a redirect URI that says localhost", () =>
    Effect.gen(function*() {
      const opened = yield* open("http://localhost/callback")
      assert.match(opened.redirectUri, /^http:\/\/localhost:\d+\/callback$/)
      const headers = { host: opened.url.host }
      const six = yield* Effect.result(visit(`http://[::1]:${opened.port}/favicon.ico`, { headers }))
      assert.oneOf(six._tag === "Success" ? six.success.status : six.failure.code, [404, "EADDRNOTAVAIL"])
      yield* completes(opened)
    }).pipe(Effect.scoped))

  it.live("ignores a preferred redirect URI that is not on this machine", () =>
    Effect.gen(function*() {
      for (const preferred of ["https://valetkey.example/callback", "http://10.0.0.1:1/cb", "not a url"]) {
        assert.match((yield* open(preferred)).redirectUri, /^http:\/\/127\.0\.0\.1:\d+\/cb\//)
      }
    }).pipe(Effect.scoped))

  it.live("LOOP-03 fails typed when no port can be opened", () =>
    Effect.gen(function*() {
      const listen = vi.spyOn(Server.prototype, "listen").mockImplementation(function(this: Server) {
        queueMicrotask(() => this.emit("error", Object.assign(new Error("no port"), { code: "EMFILE" })))
        return this
      })
      const error = yield* Effect.flip(open()).pipe(Effect.ensuring(Effect.sync(() => listen.mockRestore())))
      assert.strictEqual(error.code, "callback_port_unavailable")
    }).pipe(Effect.scoped))

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

  it.live("S1x.4 S2x.8 FLOW-14 LOOP-11 shows fixed sentences under strict headers and nothing of the request", () =>
    Effect.gen(function*() {
      const opened = yield* open()
      const probe = "<img src=x onerror=alert(1)>\u001b[31m"
      const shown = yield* visit(
        callback(opened.redirectUri, { state: "wrong", error: probe, error_description: probe })
      )
      const page = yield* Effect.forkChild(
        visit(callback(opened.redirectUri, {
          state: rightState,
          error: "access_denied",
          error_description: probe,
          error_uri: "https://evil.example/"
        }))
      )
      yield* opened.flow.claimed
      yield* opened.flow.settle("failed", "access_denied")
      const denied = yield* Fiber.join(page)
      assert.include(denied.body, failureSentence.access_denied)
      for (const { body, headers } of [shown, denied]) {
        for (const trace of ["onerror", "evil", "\u001b", "<script", "access_denied", "src="]) {
          assert.notInclude(body, trace)
        }
        assert.match(String(headers["content-security-policy"]), /^default-src 'none'.*frame-ancestors 'none'/)
        assert.notInclude(String(headers["content-security-policy"]), "unsafe-inline")
        assert.strictEqual(headers["cache-control"], "no-store")
        assert.strictEqual(headers["referrer-policy"], "no-referrer")
        assert.strictEqual(headers["x-content-type-options"], "nosniff")
        assert.strictEqual(headers["cross-origin-opener-policy"], "same-origin")
        assert.strictEqual(headers["connection"], "close")
      }
    }).pipe(Effect.scoped))

  it.live("tells each ending by its own page", () =>
    Effect.gen(function*() {
      const endings = [
        ["cancelled", "Cancelled"],
        ["superseded", "Replaced"],
        ["expired", "Expired"],
        ["outcome_unknown", "Not finished"]
      ] as const
      for (const [state, title] of endings) {
        const opened = yield* open()
        yield* opened.flow.settle(state)
        assert.include((yield* visit(right(opened.redirectUri))).body, title)
      }
    }).pipe(Effect.scoped))

  it.live("speaks the language of the browser", () =>
    Effect.gen(function*() {
      const opened = yield* open()
      yield* opened.flow.settle("expired")
      const headers = { "accept-language": "de-CH, fr;q=0.5" }
      for (const target of [right(opened.redirectUri), new URL("/nowhere", opened.redirectUri)]) {
        const page = yield* visit(target, { headers })
        assert.include(page.body, "<html lang=\"de\" dir=\"ltr\">")
        assert.strictEqual(page.headers["content-language"], "de")
        assert.match(page.body, /Die Zeit zum Verbinden ist vorbei|Diese Anfrage gehört zu keiner Verbindung/)
      }
    }).pipe(Effect.scoped))

  it.live("S1.41 LOOP-05 writes the page that it owes and refuses connections once the flow has closed it", () =>
    Effect.gen(function*() {
      for (const failure of [undefined, "code_rejected"] as const) {
        const opened = yield* open()
        const page = yield* Effect.forkChild(visit(right(opened.redirectUri)))
        yield* opened.flow.claimed
        yield* opened.close
        yield* refused(opened.port)
        yield* opened.flow.settle(failure === undefined ? "completed" : "failed", failure)
        assert.include(
          (yield* Fiber.join(page)).body,
          failure === undefined ? "Connected" : failureSentence[failure]
        )
      }
    }).pipe(Effect.scoped))

  it.live("S1.19 S1x.7 LOOP-05 LOOP-13 closes at once, twice without harm, and leaves other flows alone", () =>
    Effect.gen(function*() {
      const opened = yield* Effect.all([open(), open(), open(), open(), open()])
      const [first, second, ...others] = opened
      yield* first.close
      yield* second.close
      yield* second.close
      yield* refused(first.port)
      yield* refused(second.port)
      for (const other of others) yield* completes(other)
    }).pipe(Effect.scoped))

  it.live("S1.25 closes a listener that was still opening when its flow was cleared", () =>
    Effect.gen(function*() {
      const transport = yield* LoopbackTransport.make()
      const flow = yield* pending()
      const listen = Server.prototype.listen
      const binding = Promise.withResolvers<{ readonly server: Server; readonly proceed: () => void }>()
      const spy = vi.spyOn(Server.prototype, "listen").mockImplementation(
        function(this: Server, ...args: Array<unknown>) {
          binding.resolve({ server: this, proceed: () => void Reflect.apply(listen, this, args) })
          return this
        } as typeof listen
      )
      const opening = yield* Effect.forkChild(Effect.scoped(transport.open(flow.request)))
      const { proceed, server } = yield* Effect.promise(() => binding.promise)
      spy.mockRestore()
      const cleared = yield* Effect.forkChild(Fiber.interrupt(opening))
      proceed()
      yield* Fiber.join(cleared)
      assert.isFalse(server.listening)
    }).pipe(Effect.scoped))

  it.live("S1x.8 hands a repeated response over, and nothing after it has closed", () =>
    Effect.gen(function*() {
      const opened = yield* open()
      yield* completes(opened)
      assert.strictEqual((yield* visit(right(opened.redirectUri))).status, 200)
      assert.lengthOf(opened.flow.delivered, 2)
      yield* opened.close
      yield* refused(opened.port)
      assert.lengthOf(opened.flow.delivered, 2)
    }).pipe(Effect.scoped))

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

  it.live("LOOP-10 is not held open by a connection that says nothing", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const transport = yield* Scope.provide(LoopbackTransport.make(), scope)
      const flow = yield* pending()
      const { redirectUri } = yield* Scope.provide(transport.open(flow.request), scope)
      const socket = yield* knock(Number(new URL(redirectUri).port))
      const ended = yield* Effect.forkChild(
        Effect.callback<void>((resume) => {
          socket.once("close", () => resume(Effect.void))
        }),
        { startImmediately: true }
      )
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.join(ended)
    }))

  it.live("LOOP-04 takes no port that another program holds", () =>
    Effect.gen(function*() {
      const squatter = yield* Effect.acquireRelease(
        Effect.callback<ReturnType<typeof createServer>>((resume) => {
          const server = createServer()
          server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
        }),
        (server) => Effect.sync(() => server.close())
      )
      const { port } = squatter.address() as AddressInfo
      const opened = yield* open(`http://127.0.0.1:${port}/cb/x`)
      assert.notStrictEqual(opened.port, port)
    }).pipe(Effect.scoped))
})
