import { assert, describe, type Vitest } from "@effect/vitest"
import type { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { Duration, Effect, Option } from "effect"
import * as Fixture from "./contractFixtures.ts"

/** The cases of `FlowStore` about what is overdue, and what is old: sweep. */
export const cases = <R>(
  it: Vitest.MethodsNonLive<FlowStore | ConnectionStore | R>,
  options: Fixture.ContractOptions<R>
): void => {
  describe("sweep", () => {
    // A sweep sees the flows of every case before it, so each case begins by settling those.
    const drain = Effect.flatMap(FlowStore, (flows) =>
      flows.sweep({ retention: Duration.days(9999), limit: 100 }).pipe(
        Effect.repeat({ until: (settled) => settled.length === 0 })
      ))
    const retention = Duration.hours(1)

    it.effect("S2.20 I7 CR-07 settles what is overdue, once, and says which", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const exchanging = yield* Fixture.exchangingFlow(Fixture.newKey())
        const pending = yield* Fixture.startFlow(Fixture.newKey())
        const held = yield* Fixture.heldFlow(Fixture.newKey())
        yield* options.advance(Fixture.pastTtl)
        yield* drain
        const young = yield* Fixture.startFlow(Fixture.newKey())
        const stateOf = (flow: { readonly id: typeof young.id; readonly key: typeof young.key }) =>
          Effect.map(
            flows.get({ id: flow.id, ...Fixture.ownerOf(flow.key) }),
            (read) => Option.getOrThrow(read).state
          )
        assert.strictEqual(yield* stateOf(exchanging), "outcome_unknown")
        assert.strictEqual(yield* stateOf(pending), "expired")
        assert.strictEqual(yield* stateOf(held), "expired")
        const late = yield* Fixture.exchangingFlow(Fixture.newKey())
        assert.deepStrictEqual(yield* flows.sweep({ retention, limit: 100 }), [])
        yield* options.advance(Fixture.pastLease)
        assert.deepStrictEqual(yield* flows.sweep({ retention, limit: 100 }), [late.id])
        assert.deepStrictEqual(yield* flows.sweep({ retention, limit: 100 }), [])
        assert.strictEqual(yield* stateOf(young), "pending")
        assert.strictEqual((yield* flows.complete(late.id, late.claimed.fence, Fixture.newWrite(0)))._tag, "ClaimLost")
      }))

    it.effect("DB-16 settles no more than the limit, and concurrent sweeps share the work", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        yield* options.advance(Fixture.pastTtl)
        yield* drain
        const started = yield* Effect.forEach(
          Array.from({ length: 9 }),
          () => Effect.map(Fixture.reserve(Fixture.newKey()), ({ flow }) => flow.id)
        )
        yield* options.advance(Fixture.pastTtl)
        const first = yield* flows.sweep({ retention, limit: 2 })
        assert.strictEqual(first.length, 2)
        const rest = yield* Effect.all(
          Array.from({ length: 4 }, () => flows.sweep({ retention, limit: 3 })),
          { concurrency: "unbounded" }
        )
        for (const part of rest) assert.isAtMost(part.length, 3)
        const last = yield* flows.sweep({ retention, limit: 100 })
        const all = [...first, ...rest.flat(), ...last]
        assert.deepStrictEqual([...all].sort(), [...started].sort())
      }))

    it.effect("I18 deletes old terminal flows and keeps the newest of each connection", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const settled = yield* Effect.forEach(Array.from({ length: 3 }), () =>
          Effect.gen(function*() {
            const flow = yield* Fixture.startFlow(key)
            yield* flows.cancel({ id: flow.id, ...Fixture.ownerOf(key) })
            return flow
          }))
        const [oldest, middle, newest] = settled
        const exists = (flow: typeof oldest) =>
          Effect.map(flows.get({ id: flow!.id, ...Fixture.ownerOf(key) }), Option.isSome)
        yield* flows.sweep({ retention, limit: 1000 })
        assert.isTrue(yield* exists(oldest))
        yield* options.advance(Duration.minutes(61))
        while (yield* exists(oldest)) yield* flows.sweep({ retention, limit: 1000 })
        yield* flows.sweep({ retention, limit: 1000 })
        assert.isFalse(yield* exists(middle))
        assert.isTrue(yield* exists(newest))
        assert.isTrue(Option.isNone(yield* flows.findByState(oldest!.authorization.stateHash)))
        assert.strictEqual(Option.getOrThrow(yield* flows.latest(key)).id, newest!.id)
      }))
  })
}
