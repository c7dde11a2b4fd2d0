import { assert, describe, type Vitest } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import type { FlowStore } from "@valetkey/domain/FlowStore"
import type { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { Duration, Effect, Option } from "effect"
import { claim, claimed, commit, connected, markSent, redeem, statusOf } from "./connectionSteps.ts"
import * as Fixture from "./contractFixtures.ts"

/** The cases of `ConnectionStore` about who may redeem: claim, markSent. */
export const cases = <R>(
  it: Vitest.MethodsNonLive<ConnectionStore | FlowStore | RevocationOutbox | R>,
  options: Fixture.ContractOptions<R>
): void => {
  describe("claim and markSent", () => {
    it.effect("I1 REF-02 lets one of twenty concurrent callers redeem", () =>
      Effect.gen(function*() {
        const { key } = yield* connected
        const all = yield* Effect.all(Array.from({ length: 20 }, () => claim(key, 1)), { concurrency: "unbounded" })
        assert.strictEqual(all.filter((one) => one._tag === "Claimed").length, 1)
        const busy = all.flatMap((one) => one._tag === "Busy" ? [Duration.toMillis(one.remaining)] : [])
        assert.strictEqual(busy.length, 19)
        for (const remaining of busy) {
          assert.isAbove(remaining, 0)
          assert.isAtMost(remaining, Duration.toMillis(Fixture.lease))
        }
      }))

    it.effect("I1 I20 tells each of many refreshes at once what is its own, whatever becomes of the others", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const generation = Fixture.generation(1)
        const rows = yield* Effect.forEach(Array.from({ length: 40 }), () => connected)
        const atOnce = <A, E, R>(each: (row: typeof rows[number], index: number) => Effect.Effect<A, E, R>) =>
          Effect.forEach(rows, each, { concurrency: "unbounded" })
        // Every third asks for a generation that is not there, and each asks twice.
        const claims = yield* Effect.forEach([...rows, ...rows], ({ epoch, key }, index) =>
          connections.claim(key, {
            generation: Fixture.generation(index % rows.length % 3 === 0 ? 2 : 1),
            epoch,
            policy: "strict",
            lease: Fixture.lease
          }), { concurrency: "unbounded" })
        const fences = rows.map((_, index) => {
          const own = [claims[index]!, claims[index + rows.length]!]
          assert.deepStrictEqual(
            own.map(({ _tag }) => _tag).toSorted(),
            index % 3 === 0 ? ["Moved", "Moved"] : ["Busy", "Claimed"]
          )
          return own.flatMap((one) => one._tag === "Claimed" ? [one.fence] : [])[0] ?? 0
        })
        // Every fifth comes with a fence that it does not hold.
        const marked = yield* atOnce(({ epoch, key }, index) =>
          connections.markSent(key, {
            generation,
            epoch,
            fence: fences[index]! + (index % 5 === 0 ? 1 : 0),
            lease: Fixture.lease
          })
        )
        assert.deepStrictEqual(marked, rows.map((_, index) => index % 3 !== 0 && index % 5 !== 0))
        // Every seventh has lived on under another epoch, and half of the answers name neither scopes nor an end.
        const credentials = rows.map((_, index) => {
          const { accessToken, issuedAt, tokenType, ...rest } = Fixture.newCredentials()
          return index % 2 === 0 ? { accessToken, issuedAt, tokenType } : { accessToken, issuedAt, tokenType, ...rest }
        })
        const stored = yield* atOnce(({ epoch, key }, index) =>
          connections.commit(key, {
            generation,
            epoch: index % 7 === 0 ? Fixture.newEpoch() : epoch,
            credentials: credentials[index]!,
            resultId: `${key.server}-${index}`
          })
        )
        assert.deepStrictEqual(stored, rows.map((_, index) => index % 7 !== 0))
        const read = yield* atOnce(({ key }) => Effect.map(connections.get(key), Option.getOrThrow))
        for (const [index, { key, write }] of rows.entries()) {
          assert.strictEqual(read[index]!.key.path, key.path)
          assert.deepStrictEqual(
            read[index]!.credentials,
            index % 7 === 0 ? write.credentials : credentials[index]!
          )
          assert.strictEqual(yield* connections.isCommitted(key, `${key.server}-${index}`), index % 7 !== 0)
        }
      }))

    it.effect("REF-03 tells a late caller that the generation moved", () =>
      Effect.gen(function*() {
        const { epoch, key } = yield* connected
        yield* redeem(key, 1, epoch)
        assert.strictEqual((yield* claim(key, 1))._tag, "Moved")
        assert.strictEqual((yield* claim(key, 3))._tag, "Moved")
        assert.strictEqual((yield* claim(key, 2))._tag, "Claimed")
      }))

    it.effect("REF-23 CR-01 takes over an expired claim; the old fence may not send any more", () =>
      Effect.gen(function*() {
        const { key } = yield* connected
        const old = yield* claimed(key, 1)
        yield* options.advance(Fixture.pastLease)
        const fence = yield* claimed(key, 1)
        assert.isAbove(fence, old)
        assert.isFalse(yield* markSent(key, 1, old))
        assert.isTrue(yield* markSent(key, 1, fence))
        assert.strictEqual(yield* statusOf(key), "active")
      }))

    it.effect("lets one of ten concurrent callers take an expired claim over", () =>
      Effect.gen(function*() {
        const { key } = yield* connected
        yield* claimed(key, 1)
        yield* options.advance(Fixture.pastLease)
        const all = yield* Effect.all(Array.from({ length: 10 }, () => claim(key, 1)), { concurrency: "unbounded" })
        assert.strictEqual(all.filter((one) => one._tag === "Claimed").length, 1)
      }))

    it.effect("I1 marks a claim sent once, for its holder alone", () =>
      Effect.gen(function*() {
        const { key } = yield* connected
        assert.isFalse(yield* markSent(key, 1, 0))
        const fence = yield* claimed(key, 1)
        assert.isFalse(yield* markSent(key, 1, fence + 1))
        assert.isFalse(yield* markSent(key, 2, fence))
        const all = yield* Effect.all(Array.from({ length: 5 }, () => markSent(key, 1, fence)), {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual(all.filter((won) => won), [true])
      }))

    it.effect("REF-04 begins the lease anew when the request is sent", () =>
      Effect.gen(function*() {
        const { key } = yield* connected
        const fence = yield* claimed(key, 1)
        yield* options.advance(Duration.seconds(40))
        yield* markSent(key, 1, fence)
        yield* options.advance(Duration.seconds(40))
        assert.strictEqual((yield* claim(key, 1))._tag, "Busy")
      }))

    it.effect("I1 leaves an expired sent to its owner for who asks so, of either policy, and what was not sent to nobody", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        for (const policy of ["strict", "retry-once"] as const) {
          const { epoch, key } = yield* connected
          const input = { generation: Fixture.generation(1), epoch, policy, lease: Fixture.lease, leavesSent: true }
          const first = yield* connections.claim(key, input)
          assert.strictEqual(first._tag, "Claimed")
          assert.strictEqual((yield* connections.claim(key, input))._tag, "Busy")
          yield* options.advance(Fixture.pastLease)
          const second = yield* connections.claim(key, input)
          if (second._tag !== "Claimed") return assert.fail(second._tag)
          assert.isTrue(yield* markSent(key, 1, second.fence))
          yield* options.advance(Fixture.pastLease)
          const left = yield* connections.claim(key, input)
          if (left._tag !== "Busy") return assert.fail(left._tag)
          assert.isAbove(Duration.toMillis(left.remaining), 0)
          assert.strictEqual(yield* statusOf(key), "active")
          // Nothing has changed: the owner stores, and nobody was before it.
          assert.isTrue((yield* commit(key, 1, epoch)).stored)
        }
      }))

    it.effect("I1 CR-02 CR-03 never sends a strict refresh token twice: an expired sent asks the person", () =>
      Effect.gen(function*() {
        const { key } = yield* connected
        yield* markSent(key, 1, yield* claimed(key, 1, "strict"))
        yield* options.advance(Fixture.pastLease)
        // Whoever finds it is told, so that one of many callers tells why.
        const claims = yield* Effect.all([1, 2, 3].map(() => claim(key, 1, "strict")), { concurrency: "unbounded" })
        const lost = claims.map((outcome) => outcome._tag === "Moved" ? outcome.lost ?? "moved" : outcome._tag)
        assert.deepStrictEqual(lost.toSorted(), ["moved", "moved", "unknown_outcome"])
        const read = Option.getOrThrow(yield* (yield* ConnectionStore).get(key))
        assert.deepStrictEqual(read.status, { _tag: "needs_reauth", reason: "unknown_outcome" })
        assert.deepStrictEqual(yield* claim(key, 1, "strict"), { _tag: "Moved" })
      }))

    it.effect("I1 CR-02 sends a retry-once refresh token at most twice", () =>
      Effect.gen(function*() {
        const { key } = yield* connected
        for (const _ of [1, 2]) {
          assert.isTrue(yield* markSent(key, 1, yield* claimed(key, 1)))
          yield* options.advance(Fixture.pastLease)
        }
        assert.strictEqual((yield* claim(key, 1))._tag, "Moved")
        const read = Option.getOrThrow(yield* (yield* ConnectionStore).get(key))
        assert.deepStrictEqual(read.status, { _tag: "needs_reauth", reason: "unknown_outcome" })
      }))
  })
}
