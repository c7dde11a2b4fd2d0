import { assert, describe, it } from "@effect/vitest"
import { type CallbackPlace, Flows, type StartOptions } from "@valetkey/domain/Flows"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import * as Canary from "@valetkey/testing/Canary"
import { Effect, Fiber, Latch, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { comeBack, keyOf, layer, Provider, response, returnTo } from "./World.ts"

const finalize = { confirmation: "finalize", returnTo } as const

const started = Effect.fnUntraced(function*(slug: string, options: StartOptions = {}) {
  const key = yield* keyOf(slug)
  const flow = yield* (yield* Flows).start(key, { ...finalize, ...options })
  if (flow._tag !== "Started") return yield* Effect.die(flow._tag)
  return { ...flow, key, owner: { id: flow.flow.id, tenant: key.tenant, subject: key.subject } }
})

/** One whose answer comes over the gateway, to any replica and as often as a browser likes. */
const awaited = Effect.fnUntraced(function*(slug: string) {
  const flow = yield* started(slug, { transport: "gateway" })
  const { context } = (yield* MemoryWorld).flows.get(flow.flow.id)!.authorization!
  return { ...flow, context }
})

/** What the browser brings to the application. */
const brought = Effect.fnUntraced(function*(
  { authorizationUrl, flow }: Effect.Success<ReturnType<typeof started>>,
  parameters: Record<string, string> = {}
) {
  const { onward } = yield* comeBack(flow.id, response(authorizationUrl, parameters))
  if (onward === undefined) return yield* Effect.die("the browser goes nowhere")
  const url = new URL(Redacted.value(onward))
  return { url, code: Redacted.make(url.searchParams.get("completion_code") ?? "") }
})

const rows = Effect.map(MemoryWorld, ({ flows }) => JSON.stringify([...flows.values()]))

describe("a flow that its application finalizes", () => {
  it.effect("BIND-04 holds the code, sealed, until the same user's application brings the completion code", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const provider = yield* Provider
      const flow = yield* started("mcp")
      const { code, url } = yield* brought(flow)
      assert.strictEqual(url.href.split("&")[0], returnTo)
      assert.strictEqual(url.searchParams.get("flow_id"), flow.flow.id)
      assert.match(Redacted.value(code), /^[\w-]{43}$/)
      assert.strictEqual((yield* flows.status(flow.owner)).state, "awaiting_finalize")
      const before = yield* rows
      assert.notInclude(before, Redacted.value(code))
      const stranger = { ...flow.owner, subject: (yield* keyOf("mcp", { subject: "eve" })).subject }
      assert.strictEqual((yield* Effect.flip(flows.finalize(stranger, code)))._tag, "FlowNotFound")
      const guess = yield* Effect.flip(flows.finalize(flow.owner, Redacted.make("guessed")))
      assert.strictEqual(guess._tag, "CompletionCodeInvalid")
      assert.strictEqual(yield* rows, before)
      assert.strictEqual(provider.exchanged.length, 0)
      assert.strictEqual((yield* flows.finalize(flow.owner, code)).state, "completed")
      assert.strictEqual((yield* flows.finalize(flow.owner, code)).state, "completed")
      assert.strictEqual((yield* Effect.flip(flows.finalize(flow.owner, Redacted.make("guessed"))))._tag, guess._tag)
      assert.strictEqual(provider.exchanged.length, 1)
    }).pipe(Effect.provide(layer)))

  it.effect("is handed the provider's URL over the gateway too, and bound by the completion code", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const { authorizationUrl, flow, owner } = yield* started("mcp", { transport: "gateway" })
      const { context } = (yield* MemoryWorld).flows.get(flow.id)!.authorization!
      const { onward } = yield* flows.complete(response(authorizationUrl), { context, browser: () => undefined })
      const code = new URL(Redacted.value(onward!)).searchParams.get("completion_code")!
      assert.strictEqual((yield* flows.finalize(owner, Redacted.make(code))).state, "completed")
    }).pipe(Effect.provide(layer)))

  it.effect("is not ready before the person comes back", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const { owner } = yield* started("mcp")
      const early = yield* Effect.flip(flows.finalize(owner, Redacted.make("early")))
      assert.strictEqual(early._tag, "FlowNotReady")
      assert.strictEqual((yield* flows.status(owner)).state, "pending")
    }).pipe(Effect.provide(layer)))

  it.effect("BIND-04 discards the code after a minute", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const flow = yield* started("mcp")
      yield* TestClock.adjust("5 minutes")
      const { code } = yield* brought(flow)
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual((yield* flows.status(flow.owner)).state, "awaiting_finalize")
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* flows.finalize(flow.owner, code)).state, "expired")
      assert.strictEqual((yield* Provider).exchanged.length, 0)
    }).pipe(Effect.provide(layer)))

  it.effect("sends the browser back with the stable code of what went wrong, and nothing of the provider's", () =>
    Effect.gen(function*() {
      for (
        const [parameters, code] of [
          [{ error: "access_denied", error_description: "provider text" }, "access_denied"],
          [{ error: "<script>" }, "authorization_refused"],
          [{ iss: "https://evil.example" }, "issuer_mismatch"]
        ] as const
      ) {
        const flow = yield* started(code.replaceAll("_", "-"))
        const { url } = yield* brought(flow, parameters)
        const sent = Object.fromEntries(url.searchParams)
        assert.deepStrictEqual(sent, { from: "valetkey", flow_id: flow.flow.id, error: code })
      }
    }).pipe(Effect.provide(layer)))

  it.effect("FLOW-04 sends a browser the same way again while the code is held, and never after it was used", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const { authorizationUrl, context, owner } = yield* awaited("mcp")
      const received = response(authorizationUrl)
      const first = (yield* flows.complete(received, { context })).onward
      const before = yield* rows
      const again = (yield* flows.complete(received, { context })).onward
      assert.strictEqual(Redacted.value(again!), Redacted.value(first!))
      assert.strictEqual(yield* rows, before)
      const code = Redacted.make(new URL(Redacted.value(again!)).searchParams.get("completion_code")!)
      assert.strictEqual((yield* flows.finalize(owner, code)).state, "completed")
      assert.isUndefined((yield* flows.complete(received, { context })).onward)
      assert.strictEqual((yield* Provider).exchanged.length, 1)
    }).pipe(Effect.provide(layer)))

  it.effect("FLOW-04 BIND-04 tells nobody the completion code who knows state alone, as the one who started does", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const { authorizationUrl, context } = yield* awaited("mcp")
      const parameters = { code: Redacted.value(Canary.make("code")) }
      const onward = (parameters: Record<string, string>, place: Partial<CallbackPlace> = {}) =>
        Effect.map(
          flows.complete(response(authorizationUrl, parameters), { context, ...place }),
          ({ onward }) => onward
        )
      assert.isDefined(yield* onward(parameters))
      const before = yield* rows
      for (
        const other of [
          { code: "guessed" },
          { code: parameters.code.slice(0, -1) },
          { code: `${parameters.code}x` },
          { code: "" },
          { error: "access_denied" },
          { ...parameters, iss: "https://evil.example" }
        ]
      ) assert.isUndefined(yield* onward(other), JSON.stringify(other).slice(0, 12))
      assert.isUndefined(yield* onward(parameters, { context: "other" }))
      assert.isUndefined(yield* onward(parameters, { browser: () => Redacted.make("of another browser") }))
      assert.strictEqual(yield* rows, before)
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(yield* onward(parameters))
    }).pipe(Effect.provide(layer)))

  it.effect("FLOW-04 waits with the answer to a response that came twice at once until its code is held", () =>
    Effect.gen(function*() {
      const [flows, store] = [yield* Flows, yield* FlowStore]
      const { authorizationUrl, context } = yield* awaited("mcp")
      const received = response(authorizationUrl)
      const { hold } = store
      const [reached, gate] = [yield* Latch.make(), yield* Latch.make()]
      Object.assign(store, {
        hold: (...input: Parameters<typeof hold>) =>
          Effect.andThen(reached.open, Effect.andThen(gate.await, hold(...input)))
      })
      const first = yield* Effect.forkChild(flows.complete(received, { context }))
      yield* reached.await
      const second = yield* Effect.forkChild(flows.complete(received, { context }), { startImmediately: true })
      yield* TestClock.adjust("100 millis")
      yield* gate.open
      yield* TestClock.adjust("100 millis")
      const ways = [yield* Fiber.join(first), yield* Fiber.join(second)].map(({ onward }) => Redacted.value(onward!))
      Object.assign(store, { hold })
      assert.strictEqual(ways[1], ways[0])
      assert.match(ways[0]!, /completion_code=[\w-]{43}/)
    }).pipe(Effect.provide(layer)))

  it.effect("FLOW-04 tells of the flow, and no code, when a response comes twice and its code is not held soon", () =>
    Effect.gen(function*() {
      const [flows, store] = [yield* Flows, yield* FlowStore]
      const { authorizationUrl, context } = yield* awaited("mcp")
      const received = response(authorizationUrl)
      const { hold } = store
      const [reached, gate] = [yield* Latch.make(), yield* Latch.make()]
      Object.assign(store, {
        hold: (...input: Parameters<typeof hold>) =>
          Effect.andThen(reached.open, Effect.andThen(gate.await, hold(...input)))
      })
      const first = yield* Effect.forkChild(flows.complete(received, { context }))
      yield* reached.await
      const second = yield* Effect.forkChild(flows.complete(received, { context }), { startImmediately: true })
      yield* TestClock.adjust("5 seconds")
      assert.isUndefined((yield* Fiber.join(second)).onward)
      yield* gate.open
      assert.isDefined((yield* Fiber.join(first)).onward)
      Object.assign(store, { hold })
    }).pipe(Effect.provide(layer)))

  it.effect("gives no code that a replica of the version before would not know, and none that does not open", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const world = yield* MemoryWorld
      const { authorizationUrl, context, flow } = yield* awaited("mcp")
      const received = response(authorizationUrl)
      yield* flows.complete(received, { context })
      const row = world.flows.get(flow.id)!
      world.flows.set(flow.id, { ...row, flow: { ...row.flow, completionHash: row.authorization!.stateHash } })
      assert.isUndefined((yield* flows.complete(received, { context })).onward)
      world.flows.set(flow.id, { ...row, code: row.authorization!.codeVerifier })
      assert.isUndefined((yield* flows.complete(received, { context })).onward)
    }).pipe(Effect.provide(layer)))

  it.effect("FLOW-34 sends browsers to registered URLs alone, to the letter, and reserves nothing for another", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const key = yield* keyOf("mcp")
      const evil = [
        "//evil.example",
        "/\\evil.example",
        "https:evil.example",
        "https://app.example.evil.example/connected?from=valetkey",
        "https://app.example@evil.example/connected?from=valetkey",
        "%09//evil.example",
        "javascript:alert(1)",
        `${returnTo}&x=1`,
        `${returnTo}#x`,
        returnTo.toUpperCase(),
        "https://app.example/connected",
        ""
      ]
      for (const url of evil) {
        const refused = yield* Effect.flip(flows.start(key, { confirmation: "finalize", returnTo: url }))
        assert.strictEqual(refused._tag === "ReturnUrlError" && refused.code, "return_url_unregistered")
      }
      const missing = yield* Effect.flip(flows.start(key, { confirmation: "finalize" }))
      assert.strictEqual(missing._tag === "ReturnUrlError" && missing.code, "return_url_missing")
      const unexpected = yield* Effect.flip(flows.start(key, { returnTo }))
      assert.strictEqual(unexpected._tag === "ReturnUrlError" && unexpected.code, "return_url_unexpected")
      assert.strictEqual((yield* MemoryWorld).flows.size, 0)
    }).pipe(Effect.provide(layer)))
})
