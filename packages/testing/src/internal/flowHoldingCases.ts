import { assert, describe, type Vitest } from "@effect/vitest"
import type { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { DateTime, Duration, Effect, Option } from "effect"
import * as Fixture from "./contractFixtures.ts"

/** The cases of `FlowStore` about a code that is held until the application confirms: hold, held, resume. */
export const cases = <R>(
  it: Vitest.MethodsNonLive<FlowStore | ConnectionStore | R>,
  options: Fixture.ContractOptions<R>
): void => {
  describe("hold and resume", () => {
    it.effect("gives the held code back once, to one of ten concurrent finalizers", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const { authorization, claimed, id } = yield* Fixture.exchangingFlow(key)
        const held = Fixture.newHeld()
        assert.isFalse(yield* flows.hold(id, claimed.fence + 1, held))
        assert.isTrue(yield* flows.hold(id, claimed.fence, held))
        assert.isFalse(yield* flows.hold(id, claimed.fence, held))
        const waiting = Option.getOrThrow(yield* flows.get({ id, ...Fixture.ownerOf(key) }))
        assert.deepStrictEqual([waiting.state, waiting.completionHash], ["awaiting_finalize", held.completionHash])
        const { completionHash } = held
        const input = { id, ...Fixture.ownerOf(key), completionHash, lease: Fixture.lease }
        const all = yield* Effect.all(
          Array.from({ length: 10 }, () => flows.resume(input)),
          { concurrency: "unbounded" }
        )
        const won = all.flatMap(Option.toArray)
        assert.strictEqual(won.length, 1)
        const resumed = won[0]!
        assert.strictEqual(Fixture.hex(resumed.code), Fixture.hex(held.code))
        assert.isAbove(resumed.flow.fence, claimed.fence)
        assert.deepStrictEqual(
          Fixture.authorizationView(resumed.flow.authorization),
          Fixture.authorizationView(authorization)
        )
        assert.strictEqual((yield* flows.complete(id, claimed.fence, Fixture.newWrite(0)))._tag, "ClaimLost")
        assert.strictEqual((yield* flows.complete(id, resumed.flow.fence, Fixture.newWrite(0)))._tag, "Completed")
        const completed = Option.getOrThrow(yield* flows.get({ id, ...Fixture.ownerOf(key) }))
        assert.strictEqual(completed.completionHash, completionHash)
      }))

    it.effect("FLOW-04 shows what is held to the response that brought it, as often as it asks, and to no other", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const { authorization, claimed, held: { code, completionHash }, id } = yield* Fixture.heldFlow(key)
        const answerTo = ({ bindingHash, context, stateHash }: typeof authorization) => ({
          stateHash,
          bindingHash,
          context
        })
        const right = answerTo(authorization)
        const read = Effect.map(flows.get({ id, ...Fixture.ownerOf(key) }), Option.map(Fixture.flowView))
        const before = yield* read
        for (let times = 0; times < 2; times++) {
          const found = Option.getOrThrow(yield* flows.held(right))
          assert.deepStrictEqual(Fixture.claimView(found.flow), Fixture.claimView(claimed))
          assert.strictEqual(Fixture.hex(found.code), Fixture.hex(code))
        }
        const digest = Fixture.newDigest()
        const wrong = [{ stateHash: digest }, { bindingHash: digest }, { bindingHash: undefined }, { context: "other" }]
        for (const part of wrong) assert.isTrue(Option.isNone(yield* flows.held({ ...right, ...part })))
        assert.deepStrictEqual(yield* read, before)
        yield* flows.resume({ id, ...Fixture.ownerOf(key), completionHash, lease: Fixture.lease })
        assert.isTrue(Option.isNone(yield* flows.held(right)))
        const early = yield* Fixture.exchangingFlow(Fixture.newKey())
        assert.isTrue(Option.isNone(yield* flows.held(answerTo(early.authorization))))
        const late = yield* Fixture.heldFlow(Fixture.newKey())
        yield* options.advance(Fixture.pastHolding)
        assert.isTrue(Option.isNone(yield* flows.held(answerTo(late.authorization))))
      }))

    it.effect("I10 BIND-04 gives a held flow to its owner alone, with its completion code alone", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const { held: { completionHash }, id } = yield* Fixture.heldFlow(key)
        const read = Effect.map(flows.get({ id, ...Fixture.ownerOf(key) }), Option.map(Fixture.flowView))
        const before = yield* read
        const { subject, tenant } = Fixture.newKey()
        const right = { id, ...Fixture.ownerOf(key), completionHash, lease: Fixture.lease }
        const wrong = [{ subject }, { tenant }, { completionHash: Fixture.newDigest() }]
        for (const part of wrong) {
          assert.isTrue(Option.isNone(yield* flows.resume({ ...right, ...part })))
          assert.deepStrictEqual(yield* read, before)
        }
        assert.isTrue(Option.isSome(yield* flows.resume(right)))
      }))

    it.effect("BIND-04 holds a code for its own time, not for that of the flow, and expires it then", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const { held: { completionHash, ttl }, id } = yield* Fixture.heldFlow(key)
        const waiting = Option.getOrThrow(yield* flows.get({ id, ...Fixture.ownerOf(key) }))
        const life = DateTime.toEpochMillis(waiting.expiresAt) - DateTime.toEpochMillis(waiting.createdAt)
        assert.isAtLeast(life, Duration.toMillis(ttl))
        assert.isBelow(life, Duration.toMillis(Fixture.ttl))
        yield* options.advance(Fixture.pastHolding)
        const resumed = yield* flows.resume({ id, ...Fixture.ownerOf(key), completionHash, lease: Fixture.lease })
        assert.isTrue(Option.isNone(resumed))
        const flow = Option.getOrThrow(yield* flows.get({ id, ...Fixture.ownerOf(key) }))
        assert.strictEqual(flow.state, "expired")
      }))
  })
}
