import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Queue, Stream } from "effect"
import { TestClock } from "effect/testing"
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import * as AddressPolicy from "../src/AddressPolicy.ts"
import { Egress } from "../src/Egress.ts"

const layer = Egress.layer({ policy: AddressPolicy.local() })
const loopback = { trust: "loopback" } as const

/** A server on 127.0.0.1 for the scope. */
const serve = (handler: (request: IncomingMessage, response: ServerResponse) => void) =>
  Effect.acquireRelease(
    Effect.callback<Server>((resume) => {
      const server = createServer(handler)
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  ).pipe(Effect.map((server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}/`))

/** A body of the pieces that a test offers; undefined ends it. */
const offered = () => {
  const pieces = Queue.unbounded<Uint8Array | undefined>().pipe(Effect.runSync)
  const body = async function*() {
    for (let piece; (piece = await Effect.runPromise(Queue.take(pieces))) !== undefined;) yield piece
  }
  return {
    body: body(),
    offer: (text: string | undefined) => Queue.offerUnsafe(pieces, text === undefined ? text : Buffer.from(text))
  }
}

describe("an iterated body", () => {
  it.effect("may take as long as it moves, and no longer", () =>
    Effect.gen(function*() {
      const egress = yield* Egress
      const arrived = yield* Queue.unbounded<string>()
      const url = yield* serve((request, response) => {
        request.on("error", () => undefined)
        request.on("data", (piece) => Queue.offerUnsafe(arrived, String(piece)))
        request.on("end", () => response.end("done"))
      })
      const moving = offered()
      const answered = yield* Effect.forkChild(egress.stream({ method: "PUT", url, body: moving.body }, loopback))
      for (const piece of ["a", "b", "c", "d"]) {
        moving.offer(piece)
        assert.strictEqual(yield* Queue.take(arrived), piece)
        yield* TestClock.adjust("9 seconds")
      }
      moving.offer(undefined)
      assert.strictEqual((yield* Fiber.join(answered)).status, 200)

      const stuck = offered()
      const failed = yield* Effect.forkChild(
        Effect.flip(egress.stream({ method: "PUT", url, body: stuck.body }, loopback))
      )
      stuck.offer("x")
      yield* Queue.take(arrived)
      yield* TestClock.adjust("20 seconds")
      assert.deepInclude((yield* Fiber.join(failed)).reason, { _tag: "Timeout", phase: "headers", sent: true })
    }).pipe(Effect.provide(layer)))

  it.effect("says its length where it is known, and comes in chunks where it is not", () =>
    Effect.gen(function*() {
      const egress = yield* Egress
      const seen: Array<IncomingMessage["headers"]> = []
      const url = yield* serve((request, response) => {
        seen.push(request.headers)
        request.resume().on("end", () => response.end())
      })
      for (const length of [3, undefined]) {
        const { body, offer } = offered()
        offer("abc")
        offer(undefined)
        yield* egress.stream({ method: "POST", url, body, length }, loopback)
      }
      assert.strictEqual(seen[0]?.["content-length"], "3")
      assert.isUndefined(seen[0]?.["transfer-encoding"])
      assert.strictEqual(seen[1]?.["transfer-encoding"], "chunked")
    }).pipe(Effect.provide(layer)))

  it.effect("PROX-09 that breaks off does not end well for the server", () =>
    Effect.gen(function*() {
      const egress = yield* Egress
      const ended = yield* Deferred.make<boolean>()
      const url = yield* serve((request) => {
        request.on("error", () => undefined)
        request.resume().on("close", () => Deferred.doneUnsafe(ended, Effect.succeed(request.complete)))
      })
      const body = (async function*() {
        yield Buffer.from("half")
        throw new Error("the caller is gone")
      })()
      const error = yield* Effect.flip(egress.stream({ method: "POST", url, body }, loopback))
      assert.deepInclude(error.reason, { _tag: "Interrupted", sent: true })
      assert.isFalse(yield* Deferred.await(ended))
    }).pipe(Effect.provide(layer)))
})

describe("a streamed response", () => {
  it.live("PROX-09 is read no faster than its reader takes it", () =>
    Effect.gen(function*() {
      const egress = yield* Egress
      const size = 96 * 1024 * 1024
      const piece = Buffer.alloc(64 * 1024, 120)
      let written = 0
      const url = yield* serve((_, response) => {
        const push = () => {
          while (written < size) {
            written += piece.length
            if (!response.write(piece)) return
          }
          response.end()
        }
        response.on("drain", push)
        push()
      })
      const response = yield* egress.stream({ method: "GET", url }, loopback)
      // Both sides are in this process: what does not move for so many turns of its loop is blocked.
      for (let seen = -1, still = 0; still < 200; still = written === seen ? still + 1 : 0) {
        seen = written
        yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      }
      assert.isBelow(written, 32 * 1024 * 1024)
      const read = yield* Stream.runFold(response.body, () => 0, (sum, chunk) => sum + chunk.byteLength)
      assert.strictEqual(read, size)
    }).pipe(Effect.provide(layer)))
})
