import { assert, describe, it } from "@effect/vitest"
import { AuthorizationServer } from "@valetkey/domain/AuthorizationServer"
import { globalOnly } from "@valetkey/egress/AddressPolicy"
import { Egress } from "@valetkey/egress/Egress"
import { OAuth } from "@valetkey/oauth"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Effect, Layer } from "effect"
import { type AddressInfo, createServer, type Socket } from "node:net"
import { server } from "./internal/world.ts"

/** A port of this machine, what connects to it, and what becomes of that. */
const port = (meet: (socket: Socket) => void) =>
  Effect.gen(function*() {
    const met: Array<Socket> = []
    const listener = createServer((socket) => {
      met.push(socket.on("error", () => {}))
      meet(socket)
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => void listener.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () =>
        Effect.callback<void>((resume) => {
          for (const socket of met) socket.destroy()
          listener.close(() => resume(Effect.void))
        })
    )
    return { host: `127.0.0.1:${(listener.address() as AddressInfo).port}`, met }
  })

/** A port where nobody listens any more. */
const closed = Effect.map(Effect.scoped(port(() => {})), ({ host }) => host)

const secret = "what-an-inner-service-says"

/** What a caller is told when a resource that may be called names these hosts as its authorization server, one after another. */
const told = (hosts: ReadonlyArray<string>, allowed: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const provider = yield* FakeProvider.make()
    const policy = globalOnly({ allow: [new URL(provider.origin).host, ...allowed] })
    const context = yield* Layer.build(
      OAuth.layerWith({ discovery: "500 millis" }).pipe(Layer.provide(Egress.layer({ policy })))
    )
    return yield* Effect.forEach(hosts, (host) =>
      Effect.gen(function*() {
        provider.always("resourceMetadata", Reply.patch({ authorization_servers: [`http://${host}`] }))
        const failure = yield* Effect.flip(
          AuthorizationServer.use((oauth) => oauth.discover(server(provider.resource)))
        )
        assert.notInclude(`${failure} ${JSON.stringify(failure)}`, secret)
        return { code: failure.code, message: failure.message }
      })).pipe(Effect.provideContext(context))
  })

describe("what a caller learns of a network that is not theirs", () => {
  it.live("SSRF-09 is one answer for a port that is open, closed or silent, and for an address that is nobody's: none is called", () =>
    Effect.gen(function*() {
      const open = yield* port((socket) => void socket.end(`HTTP/1.1 200 OK\r\n\r\n${secret}`))
      const silent = yield* port(() => {})
      const hosts = [open.host, silent.host, yield* closed, "169.254.169.254", "10.255.255.1:22", "[::1]:1"]
      const names = hosts.slice(0, 3).map((host) => host.replace("127.0.0.1", "localhost"))
      const answers = yield* told([...hosts, ...names], [])
      assert.lengthOf(answers, 9)
      assert.deepStrictEqual([...new Set(answers.map(({ code }) => code))], ["egress_refused"])
      assert.lengthOf([...new Set(answers.map(({ message }) => message))], 1)
      assert.deepStrictEqual([open.met, silent.met], [[], []])
    }).pipe(Effect.scoped))

  it.live("SSRF-09 is one answer for a host that refuses, hangs up, is silent, speaks something else or fails, and none of its bytes", () =>
    Effect.gen(function*() {
      const peers = yield* Effect.all([
        port((socket) => void socket.destroy()),
        port(() => {}),
        port((socket) => void socket.end(`SSH-2.0-${secret}\r\n`)),
        port((socket) => void socket.end(`HTTP/1.1 500 ${secret}\r\nx: ${secret}\r\n\r\n${secret}`)),
        port((socket) => void socket.end(`HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 9\r\n\r\n${secret}`))
      ])
      const hosts = [yield* closed, ...peers.map(({ host }) => host)]
      const answers = yield* told(hosts, hosts)
      assert.deepStrictEqual([...new Set(answers.map(({ code }) => code))], ["authorization_server_unreachable"])
      assert.lengthOf([...new Set(answers.map(({ message }) => message))], 1)
      for (const { met } of peers) assert.isAbove(met.length, 0)
    }).pipe(Effect.scoped))
})
