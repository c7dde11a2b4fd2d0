import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Layer } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import { createServer } from "node:http"
import { type AddressInfo, connect } from "node:net"
import * as HotToken from "../src/HotToken.ts"
import * as JwtAuthenticator from "../src/JwtAuthenticator.ts"
import { Readiness } from "../src/Readiness.ts"
import * as Routes from "../src/Routes.ts"
import { deposit, jwt, sign } from "./Caller.ts"
import { layerWorld } from "./Harness.ts"

/** Writes bytes to the server and reads what comes back until it closes the connection. */
class Wire extends Context.Service<Wire, {
  exchange(bytes: string): Effect.Effect<string>
  /** Writes bytes and hangs up without reading. */
  hangUp(bytes: string): Effect.Effect<void>
}>()("test/Wire") {}

const layer = Layer.effect(
  Wire,
  Effect.gen(function*() {
    const server = createServer()
    HotToken.attach(server, yield* HotToken.make())
    const listening = yield* Deferred.make<void>()
    server.once("listening", () => Deferred.doneUnsafe(listening, Effect.void))
    yield* Effect.forkScoped(Layer.launch(
      HttpRouter.serve(Routes.layerApi(), { disableLogger: true, disableListenLog: true }).pipe(
        Layer.provide(NodeHttpServer.layer(() => server, { host: "127.0.0.1", port: 0 }))
      )
    ))
    yield* Deferred.await(listening)
    const port = (server.address() as AddressInfo).port
    return Wire.of({
      exchange: (bytes) =>
        Effect.callback((resume) => {
          let answer = ""
          const socket = connect(port, "127.0.0.1", () => socket.write(bytes))
          socket.on("data", (chunk) => answer += chunk.toString("latin1"))
          socket.on("error", () => {})
          socket.on("close", () => resume(Effect.succeed(answer)))
        }),
      hangUp: (bytes) =>
        Effect.callback((resume) => {
          server.once("connection", (peer) => peer.on("close", () => resume(Effect.void)))
          const socket = connect(port, "127.0.0.1", () => socket.write(bytes, () => socket.resetAndDestroy()))
          socket.on("error", () => {})
        })
    })
  })
).pipe(
  Layer.provide([JwtAuthenticator.layerSecret(jwt), Readiness.layerAlways]),
  Layer.provideMerge(layerWorld())
)

const statuses = (answer: string) => [...answer.matchAll(/HTTP\/1\.1 (\d{3})/g)].map((match) => Number(match[1]))
const head = (target: string, token: string, ...lines: ReadonlyArray<string>) =>
  [target, "host: x", `authorization: Bearer ${token}`, "content-type: application/json", ...lines, "", ""].join("\r\n")
const hotTarget = "POST /v1/connections/notes/token HTTP/1.1"

describe("on the wire", () => {
  it.live("API-21 refuses a request whose end can be read in two ways", () =>
    Effect.gen(function*() {
      const { exchange } = yield* Wire
      const token = yield* Effect.promise(() => sign())
      const hidden = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
      const cases = [
        head(hotTarget, token, "content-length: 4", "transfer-encoding: chunked") + `0\r\n\r\n${hidden}`,
        head(hotTarget, token, "transfer-encoding: chunked", "content-length: 4") + `0\r\n\r\n${hidden}`,
        head(hotTarget, token, "content-length: 4", "content-length: 5") + `null${hidden}`,
        head(hotTarget, token, "content-length: +4") + `null${hidden}`,
        head(hotTarget, token, "transfer-encoding: xchunked") + `0\r\n\r\n${hidden}`,
        head(hotTarget, token, "transfer-encoding : chunked") + `0\r\n\r\n${hidden}`,
        `${hotTarget}\r\nhost: x\r\nx-folded: a\r\n b\r\ncontent-length: 0\r\n\r\n${hidden}`
      ]
      for (const bytes of cases) {
        const seen = statuses(yield* exchange(bytes))
        assert.deepStrictEqual(seen, [400], bytes.split("\r\n").slice(4, 6).join(" | "))
      }
    }).pipe(Effect.provide(layer)))

  it.live("S3.35 API-09 answers 413 to a body over the cap, and lives on", () =>
    Effect.gen(function*() {
      const { exchange } = yield* Wire
      const token = yield* Effect.promise(() => sign())
      const target = "PUT /v1/connections/notes HTTP/1.1"
      const body = JSON.stringify(deposit({ refreshToken: "r".repeat(128 * 1024) }))
      const sized = yield* exchange(head(target, token, `content-length: ${body.length}`, "connection: close") + body)
      assert.deepStrictEqual(statuses(sized), [413])
      const chunk = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`
      const chunked = yield* exchange(head(target, token, "transfer-encoding: chunked", "connection: close") + chunk)
      assert.deepStrictEqual(statuses(chunked), [413])
      const fits = JSON.stringify(deposit({ refreshToken: "r".repeat(100 * 1024) }))
      const stored = yield* exchange(head(target, token, `content-length: ${fits.length}`, "connection: close") + fits)
      assert.deepStrictEqual(statuses(stored), [201])
    }).pipe(Effect.provide(layer)))

  it.live("lives on when a caller hangs up in the middle of its body", () =>
    Effect.gen(function*() {
      const { exchange, hangUp } = yield* Wire
      const token = yield* Effect.promise(() => sign())
      yield* exchange(head("GET /v1/connections HTTP/1.1", token, "connection: close"))
      yield* hangUp(`${head(hotTarget, token, "content-length: 20")}{"min`)
      yield* hangUp(`${head("POST /v1/flows HTTP/1.1", token, "content-length: 20")}{"ser`)
      const pipelined = head(hotTarget, token, "content-length: 2") + "{}" +
        head(hotTarget, token, "content-length: 2", "connection: close") + "{}"
      assert.deepStrictEqual(statuses(yield* exchange(pipelined)), [404, 404])
    }).pipe(Effect.provide(layer)))
})
