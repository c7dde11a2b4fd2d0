import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import { Deferred, Effect, Fiber } from "effect"
import { type IncomingMessage, request, type ServerResponse } from "node:http"
import type { Writable } from "node:stream"
import { ask, caller, connectTo, layer, Listening, open, post, put, upstream } from "./ProxyHarness.ts"
import { Script } from "./Script.ts"

const count = Effect.map(Script, ({ calls }) => calls.filter((call) => call === "server.refresh").length)

/** Refuses every token but those that were issued after the first. */
const refusing = (first: () => string) => (request: { readonly headers: IncomingMessage["headers"] }) =>
  request.headers.authorization === `Bearer ${first()}`

describe("a token that the resource refuses", () => {
  it.live("PROX-06 is refreshed once, and the request made once more, body and all", () =>
    Effect.scoped(Effect.gen(function*() {
      let accessToken = ""
      const isOld = refusing(() => accessToken)
      const api = yield* upstream({
        answer: (request, response) => response.writeHead(isOld(request) ? 401 : 200).end(request.body)
      })
      const token = yield* caller()
      accessToken = yield* connectTo(token, "api", api.origin)
      const answer = yield* ask({ token, method: "POST", path: "/v1/proxy/api/x", body: "the same" })
      assert.deepStrictEqual([answer.status, answer.text], [200, "the same"])
      assert.deepStrictEqual(api.arrived.map(({ body }) => body), ["the same", "the same"])
      assert.notStrictEqual(api.arrived[0]!.headers.authorization, api.arrived[1]!.headers.authorization)
      assert.strictEqual(yield* count, 1)
      const chunked = yield* ask({ token, method: "POST", path: "/v1/proxy/api/x", body: "pieces", chunked: true })
      assert.strictEqual(chunked.text, "pieces")
      assert.strictEqual(yield* count, 1)
    })).pipe(Effect.provide(layer)))

  it.live("PROX-06 is not tried a third time when the new one is refused too", () =>
    Effect.scoped(Effect.gen(function*() {
      const api = yield* upstream({
        answer: (_, response) => response.writeHead(401, { "www-authenticate": "Bearer error=\"invalid_token\"" }).end()
      })
      const token = yield* caller()
      yield* connectTo(token, "api", api.origin)
      const answer = yield* ask({ token, path: "/v1/proxy/api/x" })
      assert.deepStrictEqual([answer.status, answer.json["code"]], [502, "token_refused"])
      assert.lengthOf(api.arrived, 2)
      assert.strictEqual(yield* count, 1)
    })).pipe(Effect.provide(layer)))

  it.live("PROX-06 is refreshed when the body is gone, and the caller told to send the request again", () =>
    Effect.scoped(Effect.gen(function*() {
      let accessToken = ""
      const isOld = refusing(() => accessToken)
      const api = yield* upstream({
        answer: (request, response) => response.writeHead(isOld(request) ? 401 : 200).end(String(request.body.length))
      })
      const token = yield* caller()
      accessToken = yield* connectTo(token, "api", api.origin)
      const wish = { token, method: "PUT", path: "/v1/proxy/api/x", body: Buffer.alloc(400_000, "x") }
      const answer = yield* ask(wish)
      assert.deepStrictEqual([answer.status, answer.json["code"]], [503, "request_not_replayed"])
      assert.strictEqual(answer.headers["retry-after"], "1")
      assert.strictEqual((yield* ask(wish)).text, "400000")
      assert.strictEqual((yield* ask({ ...wish, chunked: true })).text, "400000")
      assert.strictEqual(api.arrived.at(-2)!.headers["content-length"], "400000")
      assert.strictEqual(api.arrived.at(-1)!.headers["transfer-encoding"], "chunked")
      assert.strictEqual(yield* count, 1)
    })).pipe(Effect.provide(layer)))

  it.live("PROX-07 costs no redemption when it was replaced meanwhile", () =>
    Effect.scoped(Effect.gen(function*() {
      let accessToken = ""
      const isOld = refusing(() => accessToken)
      const held = yield* Deferred.make<() => void>()
      const api = yield* upstream({
        answer: (request, response) => {
          const say = () => response.writeHead(isOld(request) ? 401 : 200).end()
          if (request.url === "/slow" && isOld(request)) Deferred.doneUnsafe(held, Effect.succeed(() => void say()))
          else say()
        }
      })
      const token = yield* caller()
      accessToken = yield* connectTo(token, "api", api.origin)
      const slow = yield* Effect.forkChild(ask({ token, path: "/v1/proxy/api/slow" }))
      const release = yield* Deferred.await(held)
      assert.strictEqual((yield* ask({ token, path: "/v1/proxy/api/quick" })).status, 200)
      assert.strictEqual(yield* count, 1)
      release()
      assert.strictEqual((yield* Fiber.join(slow)).status, 200)
      assert.strictEqual(yield* count, 1)
    })).pipe(Effect.provide(layer)))

  it.live("leads to consent only when the authorization server refuses the grant", () =>
    Effect.scoped(Effect.gen(function*() {
      const { RedemptionError } = yield* Effect.promise(() => import("@valetkey/domain/AuthorizationServer"))
      const api = yield* upstream({ answer: (_, response) => response.writeHead(401).end() })
      const token = yield* caller()
      yield* connectTo(token, "api", api.origin)
      ;(yield* Script).refresh = () =>
        Effect.fail(new RedemptionError({ reason: { _tag: "Terminal", error: "invalid_grant" } }))
      const answer = yield* ask({ token, path: "/v1/proxy/api/x" })
      assert.deepStrictEqual([answer.status, answer.json["code"]], [409, "reauthorization_required"])
      assert.property(answer.json, "reauthorize")
      assert.lengthOf(api.arrived, 1)
    })).pipe(Effect.provide(layer)))
})

describe("an exchange", () => {
  it.live("PROX-09 streams both ways: a piece is there before the next one is made", () =>
    Effect.scoped(Effect.gen(function*() {
      const got = yield* Deferred.make<ServerResponse>()
      const api = yield* upstream({
        take: (request, response) => {
          request.resume()
          response.writeHead(200, { "content-type": "text/event-stream" }).write("data: 1\n\n")
          Deferred.doneUnsafe(got, Effect.succeed(response))
        }
      })
      const token = yield* caller()
      yield* connectTo(token, "api", api.origin)
      const answer = yield* open({ token, path: "/v1/proxy/api/events" })
      assert.strictEqual(answer.headers["x-accel-buffering"], "no")
      const next = () =>
        Effect.callback<string>((resume) => void answer.once("data", (piece) => resume(Effect.succeed(String(piece)))))
      assert.strictEqual(yield* next(), "data: 1\n\n")
      const response = yield* Deferred.await(got)
      response.write("data: 2\n\n")
      assert.strictEqual(yield* next(), "data: 2\n\n")
      response.end()
    })).pipe(Effect.provide(layer)))

  it.live("PROX-09 ends at the resource when its caller goes away", () =>
    Effect.scoped(Effect.gen(function*() {
      const gone = yield* Deferred.make<void>()
      const begun = yield* Deferred.make<void>()
      const api = yield* upstream({
        take: (request, response) => {
          request.resume()
          if (request.url === "/flowing") response.write("piece")
          Deferred.doneUnsafe(begun, Effect.void)
          response.on("close", () => Deferred.doneUnsafe(gone, Effect.void))
        }
      })
      const token = yield* caller()
      yield* connectTo(token, "api", api.origin)
      const flowing = yield* open({ token, path: "/v1/proxy/api/flowing" })
      flowing.destroy()
      yield* Deferred.await(gone)
    })).pipe(Effect.provide(layer)))

  it.live("PROX-09 that has no answer yet ends at the resource when its caller goes away", () =>
    Effect.scoped(Effect.gen(function*() {
      const gone = yield* Deferred.make<void>()
      const begun = yield* Deferred.make<void>()
      const api = yield* upstream({
        take: (request, response) => {
          request.resume()
          Deferred.doneUnsafe(begun, Effect.void)
          response.on("close", () => Deferred.doneUnsafe(gone, Effect.void))
        }
      })
      const token = yield* caller()
      yield* connectTo(token, "api", api.origin)
      const waiting = yield* Effect.forkChild(open({ token, path: "/v1/proxy/api/x" }))
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(waiting)
      yield* Deferred.await(gone)
    })).pipe(Effect.provide(layer)))

  it.live("PROX-09 that breaks off at the resource does not end well for its caller", () =>
    Effect.scoped(Effect.gen(function*() {
      const api = yield* upstream({
        take: (request, response) => {
          request.resume()
          if (request.url === "/sized") response.setHeader("content-length", "100")
          response.write("half", () => response.socket?.destroy())
        }
      })
      const token = yield* caller()
      const hidden = yield* caller({ scope: "proxy" })
      yield* connectTo(token, "api", api.origin)
      for (const as of [token, hidden]) {
        for (const path of ["/sized", "/chunked"]) {
          const answer = yield* open({ token: as, path: `/v1/proxy/api${path}` })
          const ended = yield* Effect.callback<boolean>((resume) => {
            answer.resume().on("close", () => resume(Effect.succeed(answer.complete)))
          })
          assert.isFalse(ended, path)
        }
      }
    })).pipe(Effect.provide(layer)))

  it.live("PROX-09 whose upload breaks off does not end well for the resource", () =>
    Effect.scoped(Effect.gen(function*() {
      const ended = yield* Deferred.make<boolean>()
      const begun = yield* Deferred.make<void>()
      const api = yield* upstream({
        take: (request) => {
          request.on("data", () => Deferred.doneUnsafe(begun, Effect.void))
          request.on("close", () => Deferred.doneUnsafe(ended, Effect.succeed(request.complete)))
        }
      })
      const token = yield* caller()
      yield* connectTo(token, "api", api.origin)
      const upload = yield* Effect.forkChild(open({
        token,
        method: "PUT",
        path: "/v1/proxy/api/x",
        body: Buffer.alloc(400_000),
        headers: { "content-length": "800000" },
        chunked: true
      }))
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(upload)
      assert.isFalse(yield* Deferred.await(ended))
    })).pipe(Effect.provide(layer)))

  it.live("PROX-09 that is answered before its upload has ended ends with the answer", () =>
    Effect.scoped(Effect.gen(function*() {
      const api = yield* upstream({ take: (_, response) => void response.writeHead(413).end("too much") })
      const token = yield* caller()
      yield* connectTo(token, "api", api.origin)
      const answer = yield* open({
        token,
        method: "PUT",
        path: "/v1/proxy/api/x",
        body: Buffer.alloc(400_000),
        headers: { "content-length": "800000" },
        unended: true
      })
      assert.strictEqual(answer.statusCode, 413)
      const ended = yield* Effect.callback<boolean>((resume) => {
        answer.resume().on("close", () => resume(Effect.succeed(answer.complete)))
      })
      assert.isTrue(ended)
    })).pipe(Effect.provide(layer)))

  it.live(
    "PROX-09 runs through this server no faster than its slower side, both ways",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const size = 64 * 1024 * 1024
        const piece = Buffer.alloc(64 * 1024, 120)
        /** Writes as fast as the other side takes it, and says how far it is. */
        const pump = (stream: Writable) => {
          const state = { written: 0 }
          const push = () => {
            while (state.written < size) {
              state.written += piece.length
              if (!stream.write(piece)) return
            }
            stream.end()
          }
          stream.on("drain", push)
          push()
          return state
        }
        const blocked = (state: { readonly written: number }) =>
          Effect.promise(async () => {
            // Every side is in this process: what does not move for so many turns of its loop is blocked.
            for (let seen = -1, still = 0; still < 200; still = state.written === seen ? still + 1 : 0) {
              seen = state.written
              await new Promise((resolve) => setImmediate(resolve))
            }
            return state.written
          })
        const arrived = yield* Deferred.make<readonly [IncomingMessage, ServerResponse]>()
        let down = { written: 0 }
        const api = yield* upstream({
          take: (request, response) => {
            if (request.method === "PUT") return void Deferred.doneUnsafe(arrived, Effect.succeed([request, response]))
            request.resume()
            down = pump(response)
          }
        })
        const token = yield* caller({ scope: "proxy admin connections:write" })
        yield* connectTo(token, "api", api.origin)

        const answer = yield* open({ token, path: "/v1/proxy/api/x" })
        assert.isBelow(yield* blocked(down), 40 * 1024 * 1024)
        let read = 0
        yield* Effect.callback<void>((resume) => {
          answer.on("data", (part: Buffer) => read += part.length).on("end", () => resume(Effect.void))
        })
        assert.strictEqual(read, size)

        const { port } = yield* Listening
        const outgoing = request({
          port,
          host: "127.0.0.1",
          method: "PUT",
          path: "/v1/proxy/api/x",
          agent: false,
          headers: { authorization: `Bearer ${token}`, "content-length": size }
        })
        const up = pump(outgoing)
        const [taken, reply] = yield* Deferred.await(arrived)
        assert.isBelow(yield* blocked(up), 40 * 1024 * 1024)
        let received = 0
        taken.on("data", (part: Buffer) => received += part.length).on("end", () => reply.end("taken"))
        yield* Effect.callback<void>((resume) =>
          void outgoing.on("response", (response) => response.resume().on("end", () => resume(Effect.void)))
        )
        assert.strictEqual(received, size)
      })).pipe(Effect.provide(layer)),
    60_000
  )
})

describe("a token that stays here", () => {
  it.live("PROX-11 is in no answer, however the resource repeats it", () =>
    Effect.scoped(Effect.gen(function*() {
      const api = yield* upstream({
        answer: ({ headers, url }, response) => {
          const authorization = headers.authorization ?? ""
          const token = authorization.slice(7)
          const text = `${authorization} ${encodeURIComponent(token)} ${
            Buffer.from(authorization).toString("base64")
          } end`
          response.setHeader("x-echo", `you sent ${authorization}`)
          response.setHeader("content-type", "application/octet-stream")
          if (url === "/zipped") response.setHeader("content-encoding", "gzip")
          if (url === "/sized") return void response.writeHead(200, { "content-length": text.length }).end(text)
          // Every boundary falls somewhere.
          for (const character of text) response.write(character)
          response.end()
        }
      })
      const token = yield* caller()
      const plain = yield* connectTo(token, "open", api.origin)
      const proxied = yield* connectTo(token, "closed", api.origin, { tokens: "proxied" })
      const hidden = yield* caller({ scope: "proxy" })
      for (
        const [as, server, secret] of [[token, "closed", proxied], [hidden, "closed", proxied], [hidden, "open", plain]]
      ) {
        for (const path of ["/sized", "/drops"]) {
          const answer = yield* ask({ token: as!, path: `/v1/proxy/${server}${path}`, headers: { range: "bytes=0-9" } })
          const shown = JSON.stringify(answer.headers) + answer.text
          assert.match(answer.text, /^Bearer \*+ \*+ .* end$/)
          for (const part of [secret!, Buffer.from(`Bearer ${secret}`).toString("base64").slice(12, -4)]) {
            assert.notInclude(shown, part)
          }
        }
        const zipped = yield* ask({ token: as!, path: `/v1/proxy/${server}/zipped` })
        assert.deepStrictEqual([zipped.status, zipped.json["code"]], [502, "resource_response_refused"])
        assert.isTrue(api.arrived.every(({ headers }) => headers.range === undefined))
      }
      const seen = yield* ask({ token, path: "/v1/proxy/open/sized", headers: { range: "bytes=0-9" } })
      assert.include(seen.text, plain)
      assert.strictEqual(api.arrived.at(-1)!.headers.range, "bytes=0-9")
    })).pipe(Effect.provide(layer)))

  it.live("PROX-11 is handed to nobody, and taken along in no export, from the moment the operator says so", () =>
    Effect.scoped(Effect.gen(function*() {
      const api = yield* upstream({})
      const token = yield* caller()
      const accessToken = yield* connectTo(token, "api", api.origin)
      const path = "/v1/connections/api/token"
      const given = yield* post(token, path, {})
      assert.deepInclude(given.json, { accessToken, resource: api.origin })
      yield* put(token, "/v1/servers/api", { resource: api.origin, tokens: "proxied" })
      for (const body of [{}, { rejectedToken: accessToken }, { minValiditySeconds: 3600 }]) {
        const kept = yield* post(token, path, body)
        assert.deepStrictEqual([kept.status, kept.json["code"]], [403, "token_not_handed_out"])
        assert.notInclude(kept.text, accessToken)
      }
      const exported = yield* post(token, "/v1/export", { passphrase: Canary.makeText("passphrase") })
      assert.deepStrictEqual([exported.status, exported.json["code"]], [409, "nothing_to_export"])
      assert.strictEqual((yield* ask({ token, path: "/v1/proxy/api/x" })).status, 200)
      assert.strictEqual(yield* count, 0)
      yield* put(token, "/v1/servers/api", { resource: api.origin, tokens: "handed_out" })
      assert.strictEqual((yield* post(token, path, {})).status, 200)
    })).pipe(Effect.provide(layer)))
})
