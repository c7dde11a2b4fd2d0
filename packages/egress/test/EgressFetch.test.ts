import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { inspect } from "node:util"
import * as AddressPolicy from "../src/AddressPolicy.ts"
import { Egress } from "../src/Egress.ts"
import { asFetch, findEgressError } from "../src/EgressFetch.ts"
import * as Peer from "./Peer.ts"

const layer = Egress.layer({ policy: AddressPolicy.local() })

const failureOf = (promise: Promise<unknown>) =>
  Effect.promise(() => promise.then(() => assert.fail("expected a failure"), (thrown: unknown) => thrown))

describe("asFetch", () => {
  it.effect("answers as fetch does", () =>
    Effect.gen(function*() {
      const send = asFetch(yield* Egress, "loopback")
      const peer = yield* Peer.open((socket, request) =>
        socket.end(
          request === 1
            ? Peer.response("{\"a\":1}", "HTTP/1.1 201 Created\r\ncontent-type: application/json")
            : "HTTP/1.1 204 No Content\r\n\r\n"
        )
      )
      const response = yield* Effect.promise(() =>
        send(`${peer.url}/token`, {
          method: "POST",
          headers: new Headers({ authorization: "Basic x" }),
          body: new URLSearchParams({ code: "c" })
        })
      )
      assert.strictEqual(response.status, 201)
      assert.strictEqual(response.headers.get("content-type"), "application/json")
      assert.deepStrictEqual(yield* Effect.promise(() => response.json()), { a: 1 })
      assert.match(peer.received(), /^POST \/token /)
      assert.match(peer.received(), /content-type: application\/x-www-form-urlencoded/)
      assert.match(peer.received(), /\r\n\r\ncode=c$/)
      const empty = yield* Effect.promise(() => send(new Request(`${peer.url}/x`, { method: "DELETE" })))
      assert.strictEqual(empty.status, 204)
    }).pipe(Effect.provide(layer)))

  it.effect("SSRF-06 throws on a redirect even if the caller asks to follow it", () =>
    Effect.gen(function*() {
      const send = asFetch(yield* Egress, "loopback")
      const peer = yield* Peer.open((socket) => socket.end(Peer.response("", "HTTP/1.1 302 Found\r\nlocation: /b")))
      const thrown = yield* failureOf(send(peer.url, { redirect: "follow" }))
      assert.strictEqual(findEgressError(thrown)?.reason._tag, "Redirected")
      assert.strictEqual(findEgressError(new Error("wrapped", { cause: thrown }))?.sent, true)
    }).pipe(Effect.provide(layer)))

  it.effect("SSRF-01 throws what the client refuses, by the trust it was made for", () =>
    Effect.gen(function*() {
      const send = asFetch(yield* Egress, { trust: "public", maxBytes: 10 })
      const error = findEgressError(yield* failureOf(send("https://127.0.0.1/")))
      assert.strictEqual(error?.code, "egress_refused")
      assert.strictEqual(error?.sent, false)
    }).pipe(Effect.provide(layer)))

  it.effect("follows the caller's signal and tells that the request was sent", () =>
    Effect.gen(function*() {
      const send = asFetch(yield* Egress, "loopback")
      const peer = yield* Peer.open()
      const controller = new AbortController()
      const pending = send(peer.url, { method: "POST", body: "x", signal: controller.signal })
      yield* peer.requested
      controller.abort()
      assert.strictEqual(findEgressError(yield* failureOf(pending))?.sent, true)
      yield* peer.closed
    }).pipe(Effect.provide(layer)))

  it.effect("LEAK-03 quotes nothing of a request that the platform refuses", () =>
    Effect.gen(function*() {
      const send = asFetch(yield* Egress, "loopback")
      for (
        const thrown of [
          yield* failureOf(send("http://127.0.0.1:9/", { headers: { authorization: "CANARY-a\nb" } })),
          yield* failureOf(send("http://CANARY-user:CANARY-pass@127.0.0.1:9/")),
          yield* failureOf(send("CANARY url"))
        ]
      ) {
        assert.strictEqual(findEgressError(thrown)?.code, "egress_refused")
        assert.notInclude(inspect(thrown, { depth: 9 }), "CANARY")
      }
    }).pipe(Effect.provide(layer)))
})
