import { assert, describe, it } from "@effect/vitest"
import { CipherError } from "@valetkey/domain/Cipher"
import { Flows } from "@valetkey/domain/Flows"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { StateTags, type StateVerdict } from "@valetkey/domain/StateTags"
import { Effect, Metric, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { begin, Browser, comeBack, layer, response } from "./World.ts"

/** A flow, its response, and how often the store was asked for one. */
const begun = Effect.gen(function*() {
  const flow = yield* begin("mcp")
  const store = yield* FlowStore
  const asked = { claims: 0, finds: 0 }
  const { claim, findByState } = store
  Object.assign(store, {
    claim: (...input: Parameters<typeof claim>) => (asked.claims++, claim(...input)),
    findByState: (...input: Parameters<typeof findByState>) => (asked.finds++, findByState(...input))
  })
  const { context } = (yield* Browser).open.get(flow.flow.id)!
  const flows = yield* Flows
  return {
    ...flow,
    asked,
    received: response(flow.authorizationUrl),
    complete: (state: string) =>
      flows.complete(response(Redacted.make(`https://as.example/authorize?state=${state}`)), { context })
  }
})

const judging = (verdict: Effect.Effect<StateVerdict, CipherError>) =>
  Effect.map(StateTags, (tags) => Object.assign(tags, { judge: () => verdict }))

const dropped = Effect.map(Metric.snapshot, (snapshot) =>
  Object.fromEntries(
    snapshot.filter(({ id }) => id === "valetkey_callbacks_dropped_total").map(({ attributes, state }) => [
      attributes?.["verdict"],
      Number((state as { readonly count: number | bigint }).count)
    ])
  ))

describe("a callback", () => {
  it.effect("FLOW-02 whose state nobody here made is rejected without a look at the store, and counted", () =>
    Effect.gen(function*() {
      const { asked, complete, flow, received } = yield* begun
      for (let count = 0; count < 1000; count++) {
        const junk = count % 2 === 0 ? `junk-${count}` : `${Redacted.value(received.state).slice(0, -3)}AAA`
        assert.strictEqual((yield* Effect.flip(complete(junk)))._tag, "CallbackRejected")
      }
      assert.deepStrictEqual(asked, { claims: 0, finds: 0 })
      assert.deepStrictEqual(yield* dropped, { foreign: 1000 })
      const { settled } = yield* comeBack(flow.id, received)
      assert.strictEqual((yield* settled).state, "completed")
      assert.strictEqual(asked.claims, 1)
    }).pipe(Effect.provide(layer), Effect.provideService(Metric.MetricRegistry, new Map())))

  it.effect("whose state no key here decides is looked up, fifty times a second and no more", () =>
    Effect.gen(function*() {
      const { asked, complete, flow, received } = yield* begun
      yield* judging(Effect.succeed("undecided"))
      const codes = yield* Effect.forEach(
        Array.from({ length: 200 }),
        (_, index) => Effect.map(Effect.flip(complete(`junk-${index}`)), (error) => "code" in error && error.code)
      )
      assert.deepStrictEqual(asked, { claims: 50, finds: 50 })
      assert.strictEqual(codes.filter((code) => code === "callback_unknown").length, 50)
      assert.strictEqual(codes.filter((code) => code === "encryption_key_unavailable").length, 150)
      assert.deepStrictEqual(yield* dropped, { undecided: 150 })
      // Who came in that second is told to come back, and is served then.
      assert.strictEqual((yield* Effect.flip(comeBack(flow.id, received)))._tag, "CipherError")
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* (yield* comeBack(flow.id, received)).settled).state, "completed")
    }).pipe(Effect.provide(layer), Effect.provideService(Metric.MetricRegistry, new Map())))

  it.effect("where no key can be read claims nothing: the flow waits for a replica that can finish it", () =>
    Effect.gen(function*() {
      const { asked, flow, owner, received } = yield* begun
      const { judge } = yield* StateTags
      yield* judging(Effect.fail(new CipherError({ code: "encryption_key_missing" })))
      const error = yield* Effect.flip(comeBack(flow.id, received))
      assert.strictEqual("code" in error && error.code, "encryption_key_missing")
      assert.deepStrictEqual(asked, { claims: 0, finds: 0 })
      assert.strictEqual((yield* (yield* Flows).status(owner)).state, "pending")
      Object.assign(yield* StateTags, { judge })
      assert.strictEqual((yield* (yield* comeBack(flow.id, received)).settled).state, "completed")
    }).pipe(Effect.provide(layer)))
})
