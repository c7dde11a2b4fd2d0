import { assert, describe, it } from "@effect/vitest"
import { Flows, type StartOptions } from "@valetkey/domain/Flows"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import { Effect, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { comeBack, keyOf, layer, Provider, response, returnTo } from "./World.ts"

const finalize = { confirmation: "finalize", returnTo } as const

const started = Effect.fnUntraced(function*(slug: string, options: StartOptions = {}) {
  const key = yield* keyOf(slug)
  const flow = yield* (yield* Flows).start(key, { ...finalize, ...options })
  if (flow._tag !== "Started") return yield* Effect.die(flow._tag)
  return { ...flow, key, owner: { id: flow.flow.id, tenant: key.tenant, subject: key.subject } }
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

  it.effect("gives the completion code once: the same callback again does not bring it", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const { authorizationUrl, flow } = yield* started("mcp", { transport: "gateway" })
      const { context } = (yield* MemoryWorld).flows.get(flow.id)!.authorization!
      const received = response(authorizationUrl)
      assert.isDefined((yield* flows.complete(received, { context })).onward)
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
