import { assert, describe, it } from "@effect/vitest"
import { Digest } from "@valetkey/domain/Entropy"
import { Flows } from "@valetkey/domain/Flows"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { StateTags } from "@valetkey/domain/StateTags"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import { Context, Effect, Layer, Option, Redacted, Schema } from "effect"
import { createHash } from "node:crypto"
import { keyOf, layer, response } from "./World.ts"

interface Call {
  readonly method: string
  readonly input: ReadonlyArray<unknown>
}

/** The use case over a store that writes down whatever it is asked. */
const observed = Effect.gen(function*() {
  const calls: Array<Call> = []
  const noting = (store: FlowStore["Service"]) =>
    new Proxy(store, {
      get: (target, method, receiver) => {
        const member = Reflect.get(target, method, receiver) as (...input: ReadonlyArray<unknown>) => unknown
        return (...input: ReadonlyArray<unknown>) => {
          calls.push({ method: String(method), input })
          return Reflect.apply(member, target, input)
        }
      }
    })
  const context = yield* Layer.build(
    Layer.provide(Flows.layer(), Layer.effect(FlowStore, Effect.map(FlowStore, noting)))
  )
  return { calls, flows: Context.get(context, Flows) }
})

const sha256 = (text: string) => createHash("sha256").update(text).digest("base64url")

/** Every text in a value, at any depth. A redacted one counts as what it holds. */
const textsOf = (value: unknown): ReadonlyArray<string> => {
  if (typeof value === "string") return [value]
  if (Redacted.isRedacted(value)) return textsOf(Redacted.value(value))
  if (value instanceof Uint8Array) return [Buffer.from(value).toString("latin1")]
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(textsOf) : []
}

describe("the lookup of a flow", () => {
  it.effect("FLOW-17 is by SHA-256: no store ever compares a state, a ticket or a browser's secret", () =>
    Effect.gen(function*() {
      const { calls, flows } = yield* observed
      const key = yield* keyOf("mcp")
      const started = yield* flows.start(key, { transport: "gateway" })
      if (started._tag !== "Offered") return yield* Effect.die(started._tag)
      const ticket = Redacted.value(started.connectUrl).split("/").at(-1)!
      const secret = "what the browser holds, and nobody else does"
      const departure = Option.getOrThrow(yield* flows.depart(Redacted.make(ticket), Redacted.make(secret)))
      const { context } = (yield* MemoryWorld).flows.get(started.flow.id)!.authorization!
      const received = response(departure.authorizationUrl)
      const state = Redacted.value(received.state)
      const browser = () => Redacted.make(secret)
      yield* flows.offer(Redacted.make(ticket), browser)
      // What was forged never comes so far; what this installation made for nothing does.
      const unused = Redacted.value(yield* (yield* StateTags).issue)
      const forged = response(Redacted.make(`https://as.example/authorize?state=${unused}`))
      yield* Effect.flip(flows.complete(forged, { context, browser }))
      yield* (yield* flows.complete(received, { context, browser })).settled
      yield* (yield* flows.complete(received, { context, browser })).settled

      const lookups = calls.filter(({ method }) => ["claim", "findByState", "findByTicket", "bind"].includes(method))
      assert.sameMembers([...new Set(lookups.map(({ method }) => method))], [
        "claim",
        "findByState",
        "findByTicket",
        "bind"
      ])
      const claims = calls.filter(({ method }) => method === "claim").map(({ input }) => input[0] as object)
      assert.deepStrictEqual(
        claims.map((input) => [Reflect.get(input, "stateHash"), Reflect.get(input, "bindingHash")]),
        [
          [sha256(Redacted.value(forged.state)), sha256(secret)],
          [sha256(state), sha256(secret)],
          [sha256(state), sha256(secret)]
        ]
      )
      for (const { input, method } of calls.filter(({ method }) => method === "findByState")) {
        assert.isTrue(Schema.is(Digest)(input[0]), method)
      }
      const prefixes = [state, ticket, secret, Redacted.value(forged.state)].map((text) => text.slice(0, 12))
      for (const { input, method } of calls) {
        for (const text of textsOf(input)) {
          for (const prefix of prefixes) assert.isFalse(text.includes(prefix), method)
        }
      }
    }).pipe(Effect.scoped, Effect.provide(layer)))
})
