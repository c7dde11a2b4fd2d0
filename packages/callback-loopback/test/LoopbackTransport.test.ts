import { assert, describe, it } from "@effect/vitest"
import { LoopbackTransport } from "@valetkey/callback-loopback"
import { failureSentence } from "@valetkey/domain/Flow"
import { LogRecorder } from "@valetkey/testing/LogRecorder"
import { Effect, Exit, Fiber, Redacted, Scope } from "effect"
import { type AddressInfo, createServer, Server } from "node:net"
import { networkInterfaces } from "node:os"
import { vi } from "vitest"
import { pending } from "./internal/flow.ts"
import { completes, open, refused, right } from "./internal/listener.ts"
import { knock, visit } from "./internal/visitor.ts"

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

  it.live("LOOP-02 uses [::1] on a machine that has no 127.0.0.1, and on no other", () =>
    Effect.gen(function*() {
      const listen = Server.prototype.listen
      const without = (code: string) =>
        vi.spyOn(Server.prototype, "listen").mockImplementation(
          function(this: Server, ...args: Array<unknown>) {
            if ((args[0] as { readonly host?: string }).host !== "127.0.0.1") return Reflect.apply(listen, this, args)
            queueMicrotask(() => this.emit("error", Object.assign(new Error("no address"), { code })))
            return this
          } as typeof listen
        )
      for (const code of ["EADDRNOTAVAIL", "EAFNOSUPPORT"]) {
        for (const preferred of [undefined, "http://127.0.0.1:1/cb/x"]) {
          const spy = without(code)
          const opened = yield* Effect.ensuring(open(preferred), Effect.sync(() => spy.mockRestore()))
          assert.match(opened.redirectUri, /^http:\/\/\[::1\]:\d+\/cb\//)
          yield* completes(opened)
        }
      }
      const spy = without("EMFILE")
      const error = yield* Effect.flip(open()).pipe(Effect.ensuring(Effect.sync(() => spy.mockRestore())))
      assert.strictEqual(error.code, "callback_port_unavailable")
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

  it.live("LOOP-04 takes no port that another program holds at either address, and says so", () =>
    Effect.gen(function*() {
      const { lines } = yield* LogRecorder
      const reached: Array<string> = []
      for (const [at, name] of [["127.0.0.1", "127.0.0.1"], ["::1", "localhost"]] as const) {
        const squatter = yield* Effect.acquireRelease(
          Effect.callback<ReturnType<typeof createServer>>((resume) => {
            const server = createServer((socket) => {
              reached.push(at)
              socket.destroy()
            })
            server.listen(0, at, () => resume(Effect.succeed(server)))
          }),
          (server) => Effect.sync(() => server.close())
        )
        const { port } = squatter.address() as AddressInfo
        const opened = yield* open(`http://${name}:${port}/cb/x`)
        assert.notStrictEqual(opened.port, port)
        const warning = (yield* lines).find((line) => line.includes(`"port":${port}`))
        assert.include(warning, "held by another program")
        yield* completes(opened)
      }
      assert.deepStrictEqual(reached, [])
      const warned = (yield* lines).length
      yield* completes(yield* open())
      assert.lengthOf(yield* lines, warned)
    }).pipe(Effect.scoped, Effect.provide(LogRecorder.layer)))
})
