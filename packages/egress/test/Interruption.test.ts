import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Scope } from "effect"
import * as AddressPolicy from "../src/AddressPolicy.ts"
import { Egress, type EgressRequest } from "../src/Egress.ts"
import * as Peer from "./Peer.ts"

const layer = Egress.layer({ policy: AddressPolicy.local() })
const loopback = { trust: "loopback" } as const

const execute = (request: EgressRequest) => Effect.flatMap(Egress, (egress) => egress.execute(request, loopback))

describe("interruption", () => {
  it.effect("closes the connection", () =>
    Effect.gen(function*() {
      const peer = yield* Peer.open()
      const fiber = yield* Effect.forkChild(
        execute({ method: "POST", url: peer.url, body: "grant_type=refresh_token" })
      )
      yield* peer.requested
      yield* Fiber.interrupt(fiber)
      yield* peer.closed
    }).pipe(Effect.provide(layer)))

  it.effect("of the layer's scope ends what is under way and says why", () =>
    Effect.gen(function*() {
      const peer = yield* Peer.open()
      const scope = yield* Scope.make()
      const egress = Context.get(yield* Layer.buildWithScope(Layer.fresh(layer), scope), Egress)
      const failing = Effect.flip(egress.execute({ method: "GET", url: peer.url }, loopback))
      const fiber = yield* Effect.forkChild(failing)
      yield* peer.requested
      yield* Scope.close(scope, Exit.void)
      const { reason } = yield* Fiber.join(fiber)
      assert.deepInclude(reason, { _tag: "Interrupted", sent: true, detail: "UND_ERR_DESTROYED" })
      yield* peer.closed
    }))

  it.effect("of the layer's scope closes shared connections", () =>
    Effect.gen(function*() {
      const head = "HTTP/1.1 200 OK\r\nkeep-alive: timeout=600"
      const peer = yield* Peer.open((socket) => socket.write(Peer.response("ok", head)))
      yield* execute({ method: "GET", url: peer.url }).pipe(Effect.provide(layer, { local: true }))
      yield* peer.closed
    }))
})
