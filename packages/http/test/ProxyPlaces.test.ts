import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Queue } from "effect"
import type { ServerResponse } from "node:http"
import { ask, caller, connectTo, layer, open, upstream } from "./ProxyHarness.ts"

describe("a request through the proxy", () => {
  it.live("PROX-14 that hangs holds its place, and none to another resource waits for it", () =>
    Effect.scoped(Effect.gen(function*() {
      const hanging = new Set<ServerResponse>()
      const full = yield* Deferred.make<void>()
      const slow = yield* upstream({
        take: (request, response) => {
          request.resume()
          if (hanging.add(response).size === 4) Deferred.doneUnsafe(full, Effect.void)
        }
      })
      const quick = yield* upstream({})
      const ada = yield* caller()
      yield* connectTo(ada, "slow", slow.origin)
      yield* connectTo(ada, "quick", quick.origin)
      const calls = yield* Effect.forEach(
        Array.from({ length: 200 }),
        () => Effect.forkChild(ask({ token: ada, path: "/v1/proxy/slow/x" }))
      )
      yield* Deferred.await(full)
      for (let n = 0; n < 20; n++) {
        assert.strictEqual((yield* ask({ token: ada, path: "/v1/proxy/quick/x" })).status, 200)
      }
      const refused = yield* ask({ token: ada, path: "/v1/proxy/slow/x" })
      assert.deepStrictEqual([refused.status, refused.json["code"], refused.headers["retry-after"]], [
        429,
        "proxy_busy",
        "1"
      ])

      const grace = yield* caller({ sub: "grace" })
      yield* connectTo(grace, "slow", slow.origin)
      for (let n = 0; n < 3; n++) yield* Effect.forkChild(ask({ token: grace, path: "/v1/proxy/slow/y" }))
      while (hanging.size < 6) yield* Effect.yieldNow
      assert.strictEqual((yield* ask({ token: grace, path: "/v1/proxy/slow/y" })).json["code"], "proxy_busy")

      for (const response of hanging) response.end("late")
      const statuses = yield* Effect.forEach(calls, (call) => Effect.map(Fiber.join(call), ({ status }) => status))
      assert.deepStrictEqual(
        [statuses.filter((status) => status === 200).length, statuses.filter((status) => status === 429).length],
        [4, 196]
      )
    })).pipe(Effect.provide(layer)))

  it.live("has its place before a byte of it is read, so that bodies cost no more memory than there are places", () =>
    Effect.scoped(Effect.gen(function*() {
      const api = yield* upstream({})
      const ada = yield* caller()
      yield* connectTo(ada, "api", api.origin)
      const stalled = { token: ada, method: "POST", path: "/v1/proxy/api/x", headers: { "content-length": "4" } }
      const answers = yield* Queue.unbounded<number>()
      const ask = Effect.flatMap(
        open({ ...stalled, body: "ab", unended: true }),
        ({ statusCode = 0 }) => Queue.offer(answers, statusCode)
      )
      const calls = yield* Effect.forEach(Array.from({ length: 10 }), () => Effect.forkChild(ask))
      // Four hold the places of this connection and are waited for; the others are told so, whatever of theirs is to come.
      assert.deepStrictEqual([...new Set(yield* Queue.takeN(answers, 6))], [429])
      yield* Fiber.interruptAll(calls)
      while (
        (yield* Effect.map(open({ token: ada, path: "/v1/proxy/api/y" }), ({ statusCode }) => statusCode)) === 429
      ) {
        yield* Effect.yieldNow
      }
      assert.isEmpty(api.arrived.filter(({ url }) => url === "/x"))
    })).pipe(Effect.provide(layer)))
})
