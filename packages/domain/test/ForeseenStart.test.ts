import { assert, describe, it } from "@effect/vitest"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import { Flows } from "@valetkey/domain/Flows"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { Servers } from "@valetkey/domain/Servers"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { Context, Effect, Exit, Fiber, Layer, Option, Redacted } from "effect"
import { keyOf, layer, Provider, response, Vault } from "./World.ts"

const gateway = { transport: "gateway" } as const

/** The use case over a store that counts the writes of starts. */
const counted = Effect.gen(function*() {
  const writes: Array<string> = []
  const counting = (store: FlowStore["Service"]): FlowStore["Service"] => ({
    ...store,
    reserve: (input) => {
      writes.push(input.frozen === undefined ? "reserve" : "reserve frozen")
      return store.reserve(input)
    },
    freeze: (...input) => {
      writes.push("freeze")
      return store.freeze(...input)
    }
  })
  const context = yield* Layer.build(
    Layer.provide(Flows.layer(), Layer.effect(FlowStore, Effect.map(FlowStore, counting)))
  )
  return { writes, flows: Context.get(context, Flows) }
})

/** Describes the server so that nobody has to be asked: its endpoints, and its client if `clientId` is given. */
const describeServer = (key: ConnectionKey, clientId?: string) =>
  Effect.flatMap(Servers, (servers) =>
    servers.put(key.tenant, key.server, {
      resource: "https://mcp.example/mcp",
      endpoints: { authorization: "https://as.example/authorize", token: "https://as.example/token" },
      ...(clientId === undefined ? {} : { client: { clientId, authMethod: "none" as const } }),
      quirks: {}
    }))

describe("a start for which nobody has to be asked", () => {
  it.effect("is one write, and its flow goes the whole way", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      yield* describeServer(key, "by-hand")
      const { flows, writes } = yield* counted
      const started = yield* flows.start(key, gateway)
      if (started._tag !== "Offered") return yield* Effect.die(started._tag)
      assert.deepStrictEqual(writes, ["reserve frozen"])
      assert.strictEqual(started.flow.snapshot?.resource, "https://mcp.example/mcp")
      const ticket = Redacted.make(Redacted.value(started.connectUrl).split("/").at(-1)!)
      const secret = Redacted.make("what the browser holds, and nobody else does")
      const { authorizationUrl } = Option.getOrThrow(yield* flows.depart(ticket, secret))
      const { context } = (yield* MemoryWorld).flows.get(started.flow.id)!.authorization!
      const delivery = yield* flows.complete(response(authorizationUrl), { context, browser: () => secret })
      assert.strictEqual((yield* delivery.settled).state, "completed")
      assert.deepStrictEqual((yield* Provider).registrations, [])
    }).pipe(Effect.provide(layer)))

  it.effect("begins with the reservation where the client is not registered yet, and is one write from then on", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      yield* describeServer(key)
      const { flows, writes } = yield* counted
      yield* flows.start(key, gateway)
      assert.deepStrictEqual(writes.splice(0), ["reserve", "freeze"])
      yield* flows.start(key, { ...gateway, onConflict: "supersede" })
      assert.deepStrictEqual(writes.splice(0), ["reserve frozen"])
      yield* flows.start(key, { ...gateway, onConflict: "supersede", scopes: ["more"] })
      assert.deepStrictEqual(writes.splice(0), ["reserve", "freeze"])
      yield* flows.start(key, { transport: "loopback", onConflict: "supersede" })
      assert.deepStrictEqual(writes, ["reserve", "freeze"])
    }).pipe(Effect.provide(layer)))

  it.effect("S1.8 is refused or joins without the key that it would need, and frees the slot when it needs it", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      yield* describeServer(key, "by-hand")
      const flows = yield* Flows
      const vault = yield* Vault
      const started = yield* flows.start(key, gateway)
      if (started._tag !== "Offered") return yield* Effect.die(started._tag)
      const { flow } = started
      vault.locked = true
      assert.strictEqual((yield* Effect.flip(flows.start(key, gateway)))._tag, "FlowConflict")
      const joined = yield* flows.start(key, { ...gateway, onConflict: "join" })
      assert.strictEqual(joined._tag === "Joined" && joined.flow.id, flow.id)
      yield* flows.cancel({ id: flow.id, tenant: key.tenant, subject: key.subject })
      assert.strictEqual((yield* Effect.flip(flows.start(key, gateway)))._tag, "CipherError")
      vault.locked = false
      assert.strictEqual((yield* flows.start(key, gateway))._tag, "Offered")
    }).pipe(Effect.provide(layer)))

  it.effect("S1.25 frees the slot when its caller goes away after the reservation", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      yield* describeServer(key, "by-hand")
      const flows = yield* Flows
      const points = yield* InjectionPoints
      yield* points.pause("flow.reserved")
      const gone = yield* Effect.forkChild(flows.start(key, gateway))
      yield* points.awaitReached("flow.reserved")
      yield* Fiber.interrupt(gone)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(gone)))
      yield* points.clear("flow.reserved")
      assert.strictEqual(Option.getOrThrow(yield* flows.latest(key)).failure, "start_failed")
      assert.strictEqual((yield* flows.start(key, gateway))._tag, "Offered")
    }).pipe(Effect.provide(layer)))
})
