import { assert, describe, it } from "@effect/vitest"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as TcpProxy from "@valetkey/testing/TcpProxy"
import { Deferred, Effect, Exit, Fiber, Redacted, Scope } from "effect"
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net"
import pg from "pg"

const get = (url: string) => Effect.tryPromise((signal) => fetch(url, { signal, headers: { connection: "close" } }))

describe("TcpProxy", () => {
  it.live("forwards, resets and forwards again", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const proxy = yield* TcpProxy.make({ port: Number(new URL(provider.origin).port) })
      const url = proxy.through(provider.resource)
      assert.strictEqual((yield* get(url)).status, 401)
      proxy.setMode("reset")
      assert.isTrue(Exit.isFailure(yield* Effect.exit(get(url))))
      proxy.setMode("forward")
      assert.strictEqual((yield* get(url)).status, 401)
      assert.strictEqual(proxy.accepted(), 3)
      const asked = proxy.asked()
      yield* get(url)
      assert.isAbove(proxy.asked(), asked)
      assert.strictEqual(provider.log.length, 3)
    }).pipe(Effect.scoped))

  it.live("swallows what a database client sends until the connection is reset", () =>
    Effect.gen(function*() {
      const { url } = yield* EmbeddedPostgres.database
      const { port } = new URL(Redacted.value(url))
      const proxy = yield* TcpProxy.make({ port: Number(port) })
      const client = new pg.Client({ connectionString: proxy.through(Redacted.value(url)) })
      client.on("error", () => {})
      yield* Effect.promise(() => client.connect())
      proxy.setMode("blackhole")
      const query = yield* Effect.forkChild(Effect.exit(Effect.tryPromise(() => client.query("CREATE TABLE lost ()"))))
      yield* Effect.yieldNow.pipe(Effect.repeat({ until: () => proxy.swallowed() > 0 }))
      proxy.resetAll()
      assert.isTrue(Exit.isFailure(yield* Fiber.join(query)))
      const direct = new pg.Client({ connectionString: Redacted.value(url) })
      const found = yield* Effect.promise(async () => {
        await direct.connect()
        const { rows } = await direct.query("SELECT to_regclass('lost') AS found")
        await direct.end()
        return rows
      })
      assert.deepStrictEqual(found, [{ found: null }])
    }).pipe(Effect.scoped))

  it.live("delays both ways in order, and resets after so many bytes of an answer", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const proxy = yield* TcpProxy.make({ port: Number(new URL(provider.origin).port), from: "127.0.0.9" })
      const url = proxy.through(`${provider.issuer}/.well-known/oauth-authorization-server`)
      const timed = Effect.gen(function*() {
        const begun = performance.now()
        const body = yield* Effect.promise(async () => (await fetch(url, { headers: { connection: "close" } })).json())
        return { body, took: performance.now() - begun }
      })
      proxy.setDelay(50)
      const { body, took } = yield* timed
      assert.strictEqual(body.issuer, provider.issuer)
      assert.isAtLeast(took, 100)
      proxy.setDelay(0)
      proxy.setResetAfter(20)
      assert.isTrue(Exit.isFailure(yield* Effect.exit(get(url))))
      assert.strictEqual(provider.log.length, 2)
      proxy.setResetAfter(undefined)
      assert.strictEqual((yield* timed).body.issuer, provider.issuer)
    }).pipe(Effect.scoped))

  it.live("keeps every byte in its place while delays change, and lets nothing stand in the place of what it lost", () =>
    Effect.gen(function*() {
      const target = yield* lines
      const proxy = yield* TcpProxy.make({ port: target.port })
      const client = yield* dialled(proxy.port)
      const near = yield* target.accepted
      let sent = 0
      for (const delay of [40, 3, 0, 25, 1, 0, 12, 0]) {
        proxy.setDelay(delay)
        for (let line = 0; line < 5; line++) {
          yield* Effect.promise(() => new Promise((done) => near.write(`${sent++}\n`, done)))
          yield* Effect.promise(() => new Promise((done) => setImmediate(done)))
        }
      }
      yield* client.reads(sent)
      assert.deepStrictEqual(client.lines(), Array.from({ length: sent }, (_, line) => String(line)))

      proxy.setMode("blackhole")
      near.write("lost\n")
      yield* Effect.yieldNow.pipe(Effect.repeat({ until: () => proxy.swallowed() > 0 }))
      const swallowed = proxy.swallowed()
      proxy.setMode("forward")
      near.write("later\n")
      yield* Effect.yieldNow.pipe(Effect.repeat({ until: () => proxy.swallowed() > swallowed }))
      assert.strictEqual(client.lines().length, sent)
    }).pipe(Effect.scoped))

  it.live("counts a connection until both its sides are gone, and ends with one whose target went unheard", () =>
    Effect.gen(function*() {
      const target = yield* lines
      const scope = yield* Scope.make()
      const proxy = yield* TcpProxy.make({ port: target.port }).pipe(Scope.provide(scope))
      const client = yield* dialled(proxy.port)
      const near = yield* target.accepted
      client.hangUp()
      yield* Effect.callback<void>((resume) => void near.resume().once("end", () => resume(Effect.void)))
      proxy.setMode("blackhole")
      yield* Effect.callback<void>((resume) => void near.end().once("close", () => resume(Effect.void)))
      // The proxy hears of it in these turns of the event loop.
      const turn = Effect.promise(() => new Promise((done) => setImmediate(done)))
      yield* Effect.repeat(turn, { times: 50 })
      assert.strictEqual(proxy.open(), 1)
      yield* Scope.close(scope, Exit.void)
      yield* Effect.repeat(turn, { until: () => proxy.open() === 0 })
    }).pipe(Effect.scoped))
})

/** A server that hands over the one connection it gets. */
const lines = Effect.gen(function*() {
  const accepted = yield* Deferred.make<Socket>()
  const server = yield* Effect.acquireRelease(
    Effect.callback<Server>((resume) => {
      const server = createServer({ allowHalfOpen: true }, (socket) => {
        // The client leaves without a word at the end.
        socket.on("error", () => {})
        Deferred.doneUnsafe(accepted, Effect.succeed(socket))
      })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => void server.close())
  )
  return { port: (server.address() as AddressInfo).port, accepted: Deferred.await(accepted) }
})

/** A client that keeps the lines that it read. */
const dialled = Effect.fnUntraced(function*(port: number) {
  let text = ""
  const socket = yield* Effect.acquireRelease(
    Effect.sync(() => connect({ host: "127.0.0.1", port, allowHalfOpen: true })),
    (socket) => Effect.sync(() => void socket.destroy())
  )
  socket.setEncoding("utf8").on("error", () => {}).on("data", (chunk: string) => {
    text += chunk
  })
  const read = () => text.split("\n").slice(0, -1)
  return {
    lines: read,
    hangUp: () => void socket.end(),
    reads: (count: number) => Effect.yieldNow.pipe(Effect.repeat({ until: () => read().length >= count }))
  }
})
