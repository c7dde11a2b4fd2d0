import { assert, describe, it } from "@effect/vitest"
import { read } from "@valetkey/domain/CallbackUrl"
import { Flows } from "@valetkey/domain/Flows"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import * as Canary from "@valetkey/testing/Canary"
import { Context, Effect, Latch, Layer, Redacted, Result } from "effect"
import { TestClock } from "effect/testing"
import { begin, Browser, comeBack, keyOf, layer, Provider, response, returnTo } from "./World.ts"

/** Where a browser ends that the provider sends back from an authorization URL. */
const landing = (authorizationUrl: Redacted.Redacted, parameters: Readonly<Record<string, string>> = {}) => {
  const asked = new URL(Redacted.value(authorizationUrl)).searchParams
  const answer = new URLSearchParams({
    state: asked.get("state")!,
    iss: "https://as.example",
    ...(parameters["error"] === undefined ? { code: Canary.makeText("code") } : {}),
    ...parameters
  })
  return `${asked.get("redirect_uri")}?${answer}`
}

const rows = Effect.map(MemoryWorld, ({ flows }) => JSON.stringify([...flows.values()]))

/** The use case once more, over a store that a test steers. */
const overStore = (steer: (store: FlowStore["Service"]) => FlowStore["Service"]) =>
  Effect.map(
    Layer.build(Layer.provide(Flows.layer(), Layer.effect(FlowStore, Effect.map(FlowStore, steer)))),
    (context) => Context.get(context, Flows)
  )

describe("Flows.paste", () => {
  it.effect("LOOP-15 completes the flow of its owner by the address where a browser ended, and closes the listener", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const { authorizationUrl, flow, owner } = yield* begin("mcp")
      const settled = yield* flows.paste(owner, Redacted.make(` ${landing(authorizationUrl)}#_=_\n`))
      assert.strictEqual(settled.state, "completed")
      assert.strictEqual((yield* Provider).exchanged.length, 1)
      assert.isFalse((yield* Browser).open.has(flow.id))
    }).pipe(Effect.provide(layer)))

  it.effect("LOOP-15 takes nothing but this flow's own address with its state, and changes nothing by refusing", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const { authorizationUrl, owner } = yield* begin("mcp")
      const other = yield* begin("other")
      const url = landing(authorizationUrl)
      const state = new URL(url).searchParams.get("state")!
      const [base = "", query = ""] = url.split("?")
      const { host, port } = new URL(url)
      const cases = [
        ["callback_url_invalid", new URL(url).searchParams.get("code")!],
        ["callback_url_invalid", "", "   ", base, `${base}?`, `?${query}`, "not an address?"],
        ["callback_url_invalid", `${base}?code=x&iss=https%3A%2F%2Fas.example`, `${base}?state=&code=x`],
        ["callback_url_invalid", `${url}&state=${state}`, `${url}&code=another`, `${base}?#${query}`],
        ["callback_url_invalid", `${url}&more=${"x".repeat(40_000)}`],
        ["callback_url_mismatch", landing(other.authorizationUrl), `${base}?state=forged&code=x`],
        ["callback_url_mismatch", `${base}?${new URL(landing(other.authorizationUrl)).searchParams}`],
        ["callback_url_mismatch", url.replace("http:", "https:"), url.replace(host, `localhost:${port}`)],
        ["callback_url_mismatch", url.replace(host, `ada@${host}`), url.replace(port, "1"), url.replace(/\?/, "/?")],
        ["callback_url_mismatch", url.replace("/cb/", "/cb/../cb/"), url.replace("/cb/", "/%63b/")]
      ] as const
      const before = yield* rows
      for (const [code, ...texts] of cases) {
        for (const text of texts) {
          const error = yield* Effect.flip(flows.paste(owner, Redacted.make(text)))
          assert.strictEqual(error.code, code)
          if (text.trim().length > 8) assert.notInclude(error.message, text.trim())
        }
      }
      assert.strictEqual(yield* rows, before)
      assert.strictEqual((yield* Provider).exchanged.length, 0)
      assert.strictEqual((yield* flows.paste(owner, Redacted.make(url))).state, "completed")
      assert.strictEqual((yield* flows.status(other.owner)).state, "pending")
    }).pipe(Effect.provide(layer)))

  it.effect("LOOP-15 is for the owner alone", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const { authorizationUrl, owner } = yield* begin("mcp")
      const { subject, tenant } = yield* keyOf("mcp", { tenant: "umbrella", subject: "eve" })
      const url = Redacted.make(landing(authorizationUrl))
      for (const stranger of [{ ...owner, subject }, { ...owner, tenant }, { ...owner, subject, tenant }]) {
        assert.strictEqual((yield* Effect.flip(flows.paste(stranger, url))).code, "flow_not_found")
      }
      assert.strictEqual((yield* flows.status(owner)).state, "pending")
    }).pipe(Effect.provide(layer)))

  it.effect("LOOP-15 refuses a second address, and one after the listener's answer, the cancel or the deadline", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const pasted = yield* begin("pasted")
      const arrived = yield* begin("arrived")
      const cancelled = yield* begin("cancelled")
      const overdue = yield* begin("overdue")
      const urlOf = ({ authorizationUrl }: typeof pasted) => Redacted.make(landing(authorizationUrl))
      yield* flows.paste(pasted.owner, urlOf(pasted))
      yield* (yield* comeBack(arrived.flow.id, response(arrived.authorizationUrl))).settled
      yield* flows.cancel(cancelled.owner)
      yield* TestClock.adjust("11 minutes")
      const before = yield* rows
      for (const one of [pasted, arrived, cancelled, overdue]) {
        assert.strictEqual((yield* Effect.flip(flows.paste(one.owner, urlOf(one)))).code, "callback_url_late")
      }
      assert.strictEqual(yield* rows, before)
      assert.strictEqual((yield* Provider).exchanged.length, 2)
    }).pipe(Effect.provide(layer)))

  it.effect("LOOP-15 gives the flow to one of many that carry its address at once", () =>
    Effect.gen(function*() {
      const { authorizationUrl, owner } = yield* begin("mcp")
      const url = Redacted.make(landing(authorizationUrl))
      let looking = 0
      const all = yield* Latch.make()
      const flows = yield* overStore((store) => ({
        ...store,
        // Nobody claims before everybody has looked.
        findByState: (stateHash) =>
          store.findByState(stateHash).pipe(
            Effect.tap(() => ++looking === 10 ? all.open : Effect.void),
            Effect.tap(() => all.await)
          )
      }))
      const results = yield* Effect.all(
        Array.from({ length: 10 }, () => Effect.result(flows.paste(owner, url))),
        { concurrency: "unbounded" }
      )
      const codes = results.map((result) => Result.isSuccess(result) ? result.success.state : result.failure.code)
      assert.strictEqual(codes.filter((code) => code === "completed").length, 1)
      assert.strictEqual(codes.filter((code) => code === "callback_url_late").length, 9)
      assert.deepStrictEqual([...(yield* Provider).redemptions.values()], [1])
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("LOOP-15 checks issuer, error and code like any response, and ends the flow by them", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const cases = [
        [{ error: "access_denied" }, "access_denied"],
        [{ iss: "https://evil.example" }, "issuer_mismatch"],
        [{ iss: "https://evil.example", error: "access_denied" }, "issuer_mismatch"],
        [{ code: "" }, "malformed_response"]
      ] as const
      for (const [index, [parameters, failure]] of cases.entries()) {
        const { authorizationUrl, owner } = yield* begin(`refused-${index}`)
        const settled = yield* flows.paste(owner, Redacted.make(landing(authorizationUrl, parameters)))
        assert.deepStrictEqual([settled.state, settled.failure], ["failed", failure])
      }
      assert.strictEqual((yield* Provider).exchanged.length, 0)
    }).pipe(Effect.provide(layer)))

  it.effect("LOOP-15 finishes what it claimed although its caller goes away", () =>
    Effect.gen(function*() {
      const { authorizationUrl, owner } = yield* begin("mcp")
      const claimed = yield* Latch.make()
      const gone = yield* Latch.make()
      const flows = yield* overStore((store) => ({
        ...store,
        claim: (input) => Effect.tap(store.claim(input), () => Effect.andThen(claimed.open, gone.await))
      }))
      const pasting = yield* Effect.forkChild(flows.paste(owner, Redacted.make(landing(authorizationUrl))))
      yield* claimed.await
      pasting.interruptUnsafe()
      yield* gone.open
      assert.strictEqual((yield* flows.wait(owner, "1 minute")).state, "completed")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("takes no address where a browser has to be bound, or an application has to confirm", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const key = yield* keyOf("mcp")
      const { subject, tenant } = key
      const gateway = yield* flows.start(key, { transport: "gateway" })
      if (gateway._tag !== "Offered") return yield* Effect.die(gateway._tag)
      const confirmed = yield* flows.start(yield* keyOf("held"), { confirmation: "finalize", returnTo })
      if (confirmed._tag !== "Started") return yield* Effect.die(confirmed._tag)
      const before = yield* rows
      const url = Redacted.make(landing(confirmed.authorizationUrl))
      for (const { id } of [gateway.flow, confirmed.flow]) {
        const refused = yield* Effect.flip(flows.paste({ id, tenant, subject }, url))
        assert.strictEqual(refused.code, "callback_url_unexpected")
      }
      assert.strictEqual(yield* rows, before)
    }).pipe(Effect.provide(layer)))

  it("FLOW-16 keeps every byte of a code", () => {
    const code = "a+b/c=%25&d é\r\n\0"
    const url = `http://127.0.0.1:1/cb?${new URLSearchParams({ state: "s", code })}`
    const received = Result.getOrThrow(read(Redacted.make(url), "http://127.0.0.1:1/cb"))
    assert.strictEqual(Redacted.value(received.code!), code)
  })
})
