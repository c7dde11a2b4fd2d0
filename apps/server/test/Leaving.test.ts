import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Scope } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { Draining } from "../src/Draining.ts"
import * as Leaving from "../src/Leaving.ts"

/** Serves a route that says when it was reached and then never answers, until `stop` closes what answers. */
const serving = Effect.gen(function*() {
  const { begin } = yield* Draining
  const reached = yield* Deferred.make<void>()
  const app = yield* Scope.make()
  const routes = Layer.mergeAll(
    Leaving.layer,
    HttpRouter.add("GET", "/never", Effect.andThen(Deferred.succeed(reached, undefined), Effect.never)),
    HttpRouter.add("GET", "/busy", HttpServerResponse.empty({ status: 503, headers: { "retry-after": "7" } })),
    HttpRouter.add("GET", "/away", HttpServerResponse.empty({ status: 503 }))
  )
  const router = yield* HttpRouter.toHttpEffect(routes).pipe(Scope.provide(app))
  const handler = yield* NodeHttpServer.makeHandler(router, { scope: app })
  const server = createServer(handler)
  yield* Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void)))
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      server.close()
      server.closeAllConnections()
    })
  )
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    reached: Deferred.await(reached),
    stop: Effect.andThen(begin, Scope.close(app, Exit.void)),
    drain: begin
  }
}).pipe(Effect.provide(Layer.merge(Draining.layer, HttpServer.layerServices)))

const get = (url: string) =>
  Effect.promise(async () => {
    const response = await fetch(url)
    return {
      status: response.status,
      retryAfter: response.headers.get("retry-after"),
      type: response.headers.get("content-type"),
      body: await response.text()
    }
  })

const draining = {
  status: 503,
  retryAfter: "1",
  type: "application/problem+json",
  code: "draining",
  retryAfterSeconds: 1
}

const told = ({ body, ...rest }: Effect.Success<ReturnType<typeof get>>) => {
  const { code, retryAfterSeconds } = JSON.parse(body) as Record<string, unknown>
  return { ...rest, code, retryAfterSeconds }
}

describe("a process that goes away", () => {
  it.live("I19: tells whoever it can no longer answer when to come back", () =>
    Effect.scoped(Effect.gen(function*() {
      const { origin, reached, stop } = yield* serving
      const asked = yield* Effect.forkChild(get(`${origin}/never`))
      yield* reached
      yield* stop
      assert.deepStrictEqual(told(yield* Fiber.join(asked)), draining)
    })))

  it.live("I19: tells whoever asks after its handlers are gone when to come back", () =>
    Effect.scoped(Effect.gen(function*() {
      const { origin, stop } = yield* serving
      yield* stop
      assert.deepStrictEqual(told(yield* get(`${origin}/never`)), draining)
    })))

  it.live("sends a long poll elsewhere when the drain begins, and leaves other answers alone", () =>
    Effect.scoped(Effect.gen(function*() {
      const { drain, origin, reached } = yield* serving
      const away = yield* get(`${origin}/away`)
      assert.deepStrictEqual([away.retryAfter, away.body], [null, ""])
      const asked = yield* Effect.forkChild(get(`${origin}/never?wait=25`))
      yield* reached
      yield* drain
      assert.deepStrictEqual(told(yield* Fiber.join(asked)), draining)
      const busy = yield* get(`${origin}/busy`)
      assert.deepStrictEqual([busy.retryAfter, busy.body], ["7", ""])
    })))
})
