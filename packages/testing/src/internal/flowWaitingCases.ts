import { assert, describe, type Vitest } from "@effect/vitest"
import type { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { Duration, Effect, Option } from "effect"
import * as Fixture from "./contractFixtures.ts"

/** The cases of `FlowStore` about what those who wait for flows ask it. */
export const cases = <R>(
  it: Vitest.MethodsNonLive<FlowStore | ConnectionStore | R>,
  options: Fixture.ContractOptions<R>
): void => {
  describe("getAll", () => {
    it.effect("I10 gives each flow to its owner alone, whatever else is asked for with it", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const keys = Array.from({ length: 5 }, () => Fixture.newKey())
        const begun = yield* Effect.forEach(keys, (key) => Fixture.startFlow(key))
        const claimed = yield* Fixture.exchangingFlow(Fixture.newKey())
        yield* flows.fail(claimed.id, claimed.claimed.fence, "code_rejected")
        const all = [...begun, claimed]
        const owners = all.map(({ id, key }) => ({ id, ...Fixture.ownerOf(key) }))
        const strange = owners.flatMap(({ id, subject, tenant }) => {
          const other = Fixture.newKey()
          return [
            { id: Fixture.newFlowId(), tenant, subject },
            { id, tenant, subject: other.subject },
            { id, tenant: other.tenant, subject }
          ]
        })
        assert.deepStrictEqual(yield* flows.getAll([]), [])
        assert.deepStrictEqual(yield* flows.getAll(strange), [])
        const found = yield* flows.getAll([...strange, ...owners])
        const single = yield* Effect.forEach(owners, (owner) => Effect.map(flows.get(owner), Option.getOrThrow))
        const byId = (one: { readonly id: string }, other: { readonly id: string }) => one.id < other.id ? -1 : 1
        assert.deepStrictEqual(
          found.map(Fixture.flowView).toSorted(byId),
          single.map(Fixture.flowView).toSorted(byId)
        )
      }))

    it.effect("shows a flow past its deadline as expired", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const { id, key } = yield* Fixture.startFlow(Fixture.newKey())
        yield* options.advance(Fixture.pastTtl)
        const [flow] = yield* flows.getAll([{ id, ...Fixture.ownerOf(key) }])
        assert.strictEqual(flow?.state, "expired")
      }))
  })

  describe("ended", () => {
    it.effect("DB-10 names every flow that ended lately, however it did, and none that is open", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const keys = Array.from({ length: 7 }, () => Fixture.newKey())
        const expired = yield* Fixture.startFlow(keys[0]!)
        yield* options.advance(Fixture.pastTtl)
        const open = yield* Fixture.startFlow(keys[1]!)
        const cancelled = yield* Fixture.startFlow(keys[2]!)
        yield* flows.cancel({ id: cancelled.id, ...Fixture.ownerOf(keys[2]!) })
        const completed = yield* Fixture.exchangingFlow(keys[3]!)
        const completion = yield* flows.complete(completed.id, completed.claimed.fence, Fixture.newWrite(0))
        // What completing gives is what a reader would find.
        const found = yield* flows.get({ id: completed.id, ...Fixture.ownerOf(keys[3]!) })
        assert.deepStrictEqual(
          Option.map(found, Fixture.flowView),
          completion._tag === "Completed" ? Option.some(Fixture.flowView(completion.flow)) : Option.none()
        )
        const failed = yield* Fixture.exchangingFlow(keys[4]!)
        yield* flows.fail(failed.id, failed.claimed.fence, "outcome_unknown")
        const superseded = yield* Fixture.startFlow(keys[5]!)
        yield* Fixture.reserve(keys[5]!, "supersede")
        const exchanging = yield* Fixture.exchangingFlow(keys[6]!)

        const ended = new Set(yield* flows.ended(Duration.minutes(2)))
        for (const { id } of [expired, cancelled, completed, failed, superseded]) assert.isTrue(ended.has(id))
        for (const { id } of [open, exchanging]) assert.isFalse(ended.has(id))
        yield* options.advance(Duration.minutes(3))
        const later = new Set(yield* flows.ended(Duration.minutes(2)))
        for (const { id } of [expired, cancelled, completed, failed, superseded, open]) assert.isFalse(later.has(id))
      }))
  })
}
