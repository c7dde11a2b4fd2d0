import { assert, it } from "@effect/vitest"
import type { CheckpointName } from "@valetkey/domain/Checkpoint"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Flows } from "@valetkey/domain/Flows"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { Effect, Option } from "effect"
import fc from "fast-check"
import { comeBack, keyOf, layer, Provider, refuse, response } from "./World.ts"

const points: ReadonlyArray<CheckpointName> = [
  "flow.claimed",
  "flow.code_sent",
  "flow.tokens_received",
  "flow.before_commit"
]

const plan = fc.record({
  heldAt: fc.constantFrom(...points),
  lateAnswer: fc.constantFrom("tokens", "refusal", "silence"),
  replace: fc.constantFrom("cancel", "supersede"),
  releaseAfter: fc.constantFrom("start", "callback", "settled"),
  yields: fc.nat({ max: 5 })
})

it.effect("S1.30 I8 a thousand interleavings: the old run never touches the new one", () =>
  Effect.gen(function*() {
    const injection = yield* InjectionPoints
    const provider = yield* Provider
    const flows = yield* Flows
    let round = 0

    const run = Effect.fnUntraced(function*(choice: typeof plan extends fc.Arbitrary<infer A> ? A : never) {
      const key = yield* keyOf(`mcp-${round++}`)
      const old = yield* flows.start(key)
      if (old._tag !== "Started") return assert.fail(old._tag)
      const owner = { id: old.flow.id, tenant: key.tenant, subject: key.subject }
      if (choice.lateAnswer !== "tokens") {
        provider.exchange = () =>
          refuse(
            choice.lateAnswer === "refusal" ? { _tag: "Terminal", error: "invalid_grant" } : { _tag: "UnknownOutcome" }
          )
      }
      // A refused exchange never reaches the commit; hold it where it does pass.
      const heldAt = choice.lateAnswer !== "tokens" && choice.heldAt === "flow.before_commit"
        ? "flow.tokens_received"
        : choice.heldAt
      const reached = (yield* injection.count(heldAt)) + 1
      yield* injection.pause(heldAt, { times: 1 })
      yield* comeBack(old.flow.id, response(old.authorizationUrl))
      yield* injection.awaitReached(heldAt, reached)
      if (choice.replace === "cancel") yield* flows.cancel(owner)
      const next = yield* flows.start(key, { onConflict: "supersede" })
      if (next._tag !== "Started") return assert.fail(next._tag)
      const release = Effect.gen(function*() {
        yield* injection.release(heldAt)
        for (let step = 0; step < choice.yields; step++) yield* Effect.yieldNow
      })
      if (choice.releaseAfter === "start") yield* release
      provider.exchange = (issue) => issue
      const delivery = yield* comeBack(next.flow.id, response(next.authorizationUrl))
      if (choice.releaseAfter === "callback") yield* release
      const settled = yield* delivery.settled
      if (choice.releaseAfter === "settled") yield* release
      for (let step = 0; step < 20; step++) yield* Effect.yieldNow

      assert.strictEqual(settled.state, "completed")
      assert.strictEqual((yield* flows.status({ ...owner, id: next.flow.id })).state, "completed")
      assert.strictEqual((yield* flows.status(owner)).state, choice.replace === "cancel" ? "cancelled" : "superseded")
      const connection = Option.getOrThrow(yield* (yield* ConnectionStore).get(key))
      assert.deepStrictEqual([connection.status._tag, connection.generation], ["active", 1])
    })

    const context = yield* Effect.context<Flows | InjectionPoints | Provider | ConnectionStore>()
    yield* Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(plan, (choice) => Effect.runPromiseWith(context as never)(run(choice) as Effect.Effect<void>)),
        { numRuns: 1000 }
      )
    )
  }).pipe(Effect.provide(layer)), 60_000)
