import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { request } from "node:http"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Listeners from "../src/Listeners.ts"
import * as Replica from "./support/Replica.ts"

const directory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "vkl-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly body: string
}

const get = (socketPath: string, path: string): Effect.Effect<Answer, unknown> =>
  Effect.callback((resume) => {
    const outgoing = request({ socketPath, path, agent: false }, (response) => {
      let body = ""
      response.on("data", (chunk) => body += String(chunk))
      response.on("end", () => {
        const { date: _, ...headers } = response.headers
        resume(Effect.succeed({ status: response.statusCode ?? 0, headers, body }))
      })
    })
    outgoing.on("error", (error) => resume(Effect.fail(error)))
    outgoing.end()
  })

/** Whether somebody accepts a connection. */
const connected = (path: string): Effect.Effect<void, unknown> =>
  Effect.callback((resume) => {
    const socket = connect(path, () => {
      socket.destroy()
      resume(Effect.void)
    })
    socket.on("error", (error) => resume(Effect.fail(error)))
  })

/** An application that answers with its own name, and when it began to load. */
const named = (loading: Deferred.Deferred<void>, go: Deferred.Deferred<void>) =>
  Effect.as(
    Effect.andThen(Deferred.succeed(loading, undefined), Deferred.await(go)),
    ((_, response) => response.end("application")) satisfies Listeners.Application
  )

describe("a listener", () => {
  it.live("lives before its application is loaded, and keeps requests until then", () =>
    Effect.scoped(Effect.gen(function*() {
      const path = join(yield* directory, "socket")
      const loading = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      yield* Listeners.open({ address: { path }, application: named(loading, go), liveAtOnce: true })
      assert.strictEqual((yield* get(path, "/livez")).body, "{\"live\":true}")
      assert.isFalse(yield* Deferred.isDone(loading))
      const waiting = yield* Effect.forkChild(get(path, "/v1/connections"))
      yield* Deferred.await(loading)
      assert.strictEqual((yield* get(path, "/livez")).body, "{\"live\":true}")
      assert.isUndefined(waiting.pollUnsafe())
      yield* Deferred.succeed(go, undefined)
      assert.strictEqual((yield* Fiber.join(waiting)).body, "application")
      assert.strictEqual((yield* get(path, "/livez")).body, "application")
    })))

  it.live("says nothing before its application where a browser can reach", () =>
    Effect.scoped(Effect.gen(function*() {
      const path = join(yield* directory, "socket")
      const loading = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      yield* Listeners.open({ address: { path }, application: named(loading, go) })
      const waiting = yield* Effect.forkChild(get(path, "/livez"))
      yield* Deferred.await(loading)
      yield* Deferred.succeed(go, undefined)
      assert.strictEqual((yield* Fiber.join(waiting)).body, "application")
    })))

  it.live("hangs up on who asked for an application that cannot be loaded, and tells its owner", () =>
    Effect.scoped(Effect.gen(function*() {
      const path = join(yield* directory, "socket")
      const { loaded } = yield* Listeners.open({ address: { path }, application: Effect.die("a file is gone") })
      assert.isTrue(Exit.isFailure(yield* Effect.exit(get(path, "/"))))
      assert.isTrue(Exit.isFailure(yield* Effect.exit(loaded)))
    })))

  it.live("answers what is under way when it closes, and accepts nothing more", () =>
    Effect.scoped(Effect.gen(function*() {
      const path = join(yield* directory, "socket")
      const asked = yield* Deferred.make<void>()
      const scope = yield* Scope.make()
      const responses: Array<Parameters<Listeners.Application>[1]> = []
      yield* Listeners.open({
        address: { path },
        application: Effect.succeed((_, response) => {
          responses.push(response)
          Deferred.doneUnsafe(asked, Effect.void)
        })
      }).pipe(Scope.provide(scope))
      const waiting = yield* Effect.forkChild(get(path, "/"))
      yield* Deferred.await(asked)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      // Not in the same turn; a request that is let in is never answered and never asked for.
      while (Exit.isSuccess(yield* Effect.exit(connected(path)))) yield* Effect.yieldNow
      assert.isUndefined(closing.pollUnsafe())
      responses[0]?.end("in full")
      assert.strictEqual((yield* Fiber.join(waiting)).body, "in full")
      yield* Fiber.join(closing)
    })))

  it.live("stops accepting as soon as the process leaves, long before its turn to close comes", () =>
    Effect.scoped(Effect.gen(function*() {
      const path = join(yield* directory, "socket")
      const leave = yield* Deferred.make<void>()
      const asked = yield* Deferred.make<void>()
      const responses: Array<Parameters<Listeners.Application>[1]> = []
      yield* Listeners.open({
        address: { path },
        application: Effect.succeed((_, response) => {
          responses.push(response)
          Deferred.doneUnsafe(asked, Effect.void)
        }),
        leaving: Deferred.await(leave)
      })
      const waiting = yield* Effect.forkChild(get(path, "/"))
      yield* Deferred.await(asked)
      yield* Deferred.succeed(leave, undefined)
      // Not yet known to the system in the same turn; a request that is let in is never answered and never asked for.
      while (Exit.isSuccess(yield* Effect.exit(connected(path)))) yield* Effect.yieldNow
      responses[0]?.end("in full")
      assert.strictEqual((yield* Fiber.join(waiting)).body, "in full")
    })))

  it.live("PROX-09 hangs up on a body that takes too long, and not on one that is to stream", () =>
    Effect.scoped(Effect.gen(function*() {
      const path = join(yield* directory, "socket")
      yield* Listeners.open({
        address: { path },
        application: Effect.succeed((request, response) => {
          request.on("error", () => undefined)
          request.resume().on("end", () => response.end("whole"))
        }),
        streams: (url) => url.startsWith("/streams/"),
        bodyPatience: 50
      })
      /** Sends half of a body; the end of it comes when the test says so. */
      const half = (url: string) =>
        Effect.gen(function*() {
          const begun = yield* Deferred.make<() => void>()
          const ended = yield* Effect.forkChild(Effect.callback<string>((resume) => {
            const outgoing = request({ socketPath: path, path: url, method: "POST", agent: false })
            outgoing.setHeader("content-length", 8)
            outgoing.on("response", (response) => response.on("data", (text) => resume(Effect.succeed(String(text)))))
            outgoing.on("error", () => resume(Effect.succeed("hung up")))
            outgoing.write("half", () => Deferred.doneUnsafe(begun, Effect.succeed(() => void outgoing.end("half"))))
          }))
          return { finish: yield* Deferred.await(begun), ended }
        })
      const streaming = yield* half("/streams/x")
      const plain = yield* half("/x")
      assert.strictEqual(yield* Fiber.join(plain.ended), "hung up")
      streaming.finish()
      assert.strictEqual(yield* Fiber.join(streaming.ended), "whole")
    })))

  it.live("FLOW-15 reads a request line that holds the longest code, and no endless one", () =>
    Effect.scoped(Effect.gen(function*() {
      const path = join(yield* directory, "socket")
      let asked = 0
      yield* Listeners.open({
        address: { path },
        application: Effect.succeed((request, response) => {
          asked++
          response.end(String(request.url?.length))
        })
      })
      const target = `/callback/x?code=${"c".repeat(16_384)}&state=${"s".repeat(1024)}`
      assert.strictEqual((yield* get(path, target)).body, String(target.length))
      // Answered with 431, which whoever still writes may not get to read.
      yield* Effect.exit(get(path, `/?${"c".repeat(64 * 1024)}`))
      assert.strictEqual(asked, 1)
    })))

  it.live("says that it lives as the contract does", () =>
    Effect.scoped(Effect.gen(function*() {
      const home = join(yield* directory, "home")
      yield* Replica.start({ VALETKEY_HOME: home })
      const socket = join(home, "run", "valetkey.sock")
      const loaded = yield* get(socket, "/readyz")
      assert.strictEqual(loaded.status, 200)
      const contract = yield* get(socket, "/livez")
      const path = join(home, "..", "socket")
      yield* Listeners.open({ address: { path }, application: Effect.never, liveAtOnce: true })
      const early = yield* get(path, "/livez")
      const { "content-length": _, "transfer-encoding": __, ...headers } = early.headers
      assert.strictEqual(early.status, contract.status)
      assert.strictEqual(early.body, contract.body)
      for (const [name, value] of Object.entries(headers)) assert.strictEqual(contract.headers[name], value, name)
    })))
})
