import { assert, describe, type Vitest } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import type { FlowStore } from "@valetkey/domain/FlowStore"
import type { RefreshFailure } from "@valetkey/domain/Refresh"
import type { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { DateTime, Duration, Effect, Option } from "effect"
import { claim, claimed, commit, connected, fail, markSent, redeem, reject, statusOf } from "./connectionSteps.ts"
import * as Fixture from "./contractFixtures.ts"

/** The cases of `ConnectionStore` about failures, and about what is learnt of an access token: fail, reject, setExpiry. */
export const cases = <R>(
  it: Vitest.MethodsNonLive<ConnectionStore | FlowStore | RevocationOutbox | R>,
  options: Fixture.ContractOptions<R>
): void => {
  describe("fail and reject", () => {
    it.effect("REF-17 keeps asking the person after a terminal failure, until they consent again", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const { key } = yield* connected
        const fence = yield* claimed(key, 1)
        yield* markSent(key, 1, fence)
        assert.isTrue(yield* fail(key, 1, fence, { _tag: "Terminal", reason: "refresh_token_rejected" }))
        const read = Option.getOrThrow(yield* connections.get(key))
        assert.deepStrictEqual(read.status, { _tag: "needs_reauth", reason: "refresh_token_rejected" })
        assert.strictEqual((yield* claim(key, 1))._tag, "Moved")
        yield* connections.deposit(key, Fixture.newWrite(1))
        assert.strictEqual(yield* statusOf(key), "active")
        assert.strictEqual((yield* claim(key, 2))._tag, "Claimed")
      }))

    it.effect("REF-09 I5 takes no failure from a stale fence, another generation or an idle connection", () =>
      Effect.gen(function*() {
        const { epoch, key } = yield* connected
        const terminal = { _tag: "Terminal", reason: "refresh_token_rejected" } as const
        const old = yield* claimed(key, 1)
        yield* options.advance(Fixture.pastLease)
        const fence = yield* claimed(key, 1)
        assert.isFalse(yield* fail(key, 1, old, terminal))
        assert.isFalse(yield* fail(key, 2, fence, terminal))
        yield* markSent(key, 1, fence)
        yield* commit(key, 1, epoch)
        assert.isFalse(yield* fail(key, 1, fence, terminal))
        assert.isFalse(yield* fail(key, 2, fence, terminal))
        assert.strictEqual(yield* statusOf(key), "active")
      }))

    it.effect("paces after a retryable failure, then gives the full number of attempts again", () =>
      Effect.gen(function*() {
        const { key } = yield* connected
        const fence = yield* claimed(key, 1)
        yield* markSent(key, 1, fence)
        assert.isTrue(yield* fail(key, 1, fence, { _tag: "Retryable", delay: Duration.minutes(5) }))
        const paced = yield* claim(key, 1)
        assert.strictEqual(paced._tag, "Paced")
        const remaining = paced._tag === "Paced" ? Duration.toMillis(paced.remaining) : 0
        assert.isAbove(remaining, 0)
        assert.isAtMost(remaining, Duration.toMillis(Duration.minutes(5)))
        yield* options.advance(Duration.minutes(6))
        assert.isTrue(yield* markSent(key, 1, yield* claimed(key, 1, "strict")))
      }))

    it.effect("I1 an answered attempt does not undo an earlier one whose outcome is unknown", () =>
      Effect.gen(function*() {
        const unknown: RefreshFailure = { _tag: "UnknownOutcome" }
        const retryable: RefreshFailure = { _tag: "Retryable", delay: Duration.zero }
        const terminal: RefreshFailure = { _tag: "Terminal", reason: "refresh_token_rejected" }
        for (const last of [unknown, terminal]) {
          const { key } = yield* connected
          for (const failure of [unknown, retryable, last]) {
            const fence = yield* claimed(key, 1)
            yield* markSent(key, 1, fence)
            assert.isTrue(yield* fail(key, 1, fence, failure))
            yield* options.advance(Duration.minutes(1))
          }
          const read = Option.getOrThrow(yield* (yield* ConnectionStore).get(key))
          assert.deepStrictEqual(read.status, { _tag: "needs_reauth", reason: "unknown_outcome" })
        }
      }))

    it.effect("I1 counts an unknown outcome as an attempt", () =>
      Effect.gen(function*() {
        for (const [policy, attempts] of [["strict", 1], ["retry-once", 2]] as const) {
          const { key } = yield* connected
          for (let attempt = 1; attempt <= attempts; attempt++) {
            assert.strictEqual(yield* statusOf(key), "active")
            const fence = yield* claimed(key, 1, policy)
            yield* markSent(key, 1, fence)
            yield* fail(key, 1, fence, { _tag: "UnknownOutcome" }, policy)
            yield* options.advance(Duration.seconds(5))
          }
          const read = Option.getOrThrow(yield* (yield* ConnectionStore).get(key))
          assert.deepStrictEqual(read.status, { _tag: "needs_reauth", reason: "unknown_outcome" })
        }
      }))

    it.effect("counts no unknown outcome of what uses nothing up, not even of an owner who died", () =>
      Effect.gen(function*() {
        const { epoch, key } = yield* connected
        for (let attempt = 1; attempt <= 4; attempt++) {
          const fence = yield* claimed(key, 1, "repeatable")
          assert.isTrue(yield* markSent(key, 1, fence))
          if (attempt % 2 === 0) yield* fail(key, 1, fence, { _tag: "UnknownOutcome" }, "repeatable")
          yield* options.advance(Fixture.pastLease)
          assert.strictEqual(yield* statusOf(key), "active")
        }
        assert.strictEqual((yield* claim(key, 1, "repeatable"))._tag, "Claimed")
        assert.isTrue((yield* commit(key, 1, epoch)).stored)
      }))

    it.effect("I6 remembers that the current access token was refused, and of an older one nothing", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const { epoch, key } = yield* connected
        yield* reject(key, 2)
        assert.isFalse(Option.getOrThrow(yield* connections.get(key)).rejected)
        yield* reject(key, 1)
        yield* reject(key, 1)
        assert.isTrue(Option.getOrThrow(yield* connections.get(key)).rejected)
        yield* redeem(key, 1, epoch)
        yield* reject(key, 1)
        assert.isFalse(Option.getOrThrow(yield* connections.get(key)).rejected)
      }))

    it.effect("takes the end of the current access token when it is learnt, and of no other life or generation", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const { epoch, key } = yield* connected
        const end = DateTime.addDuration(yield* DateTime.now, "10 minutes")
        const set = (of: number, life = epoch) =>
          connections.setExpiry(key, { generation: Fixture.generation(of), epoch: life, expiresAt: end })
        const before = Option.getOrThrow(yield* connections.get(key))
        assert.isFalse(yield* set(2))
        assert.isFalse(yield* set(1, Fixture.newEpoch()))
        assert.deepStrictEqual(Option.getOrThrow(yield* connections.get(key)), before)
        assert.isTrue(yield* set(1))
        assert.isTrue(yield* set(1))
        const after = Option.getOrThrow(yield* connections.get(key))
        assert.deepStrictEqual(after.credentials, { ...before.credentials, expiresAt: end })
        assert.deepStrictEqual([after.generation, after.epoch, after.status], [1, epoch, before.status])
        const { credentials } = yield* redeem(key, 1, epoch)
        assert.isFalse(yield* set(1))
        assert.deepStrictEqual(
          Option.getOrThrow(yield* connections.get(key)).credentials.expiresAt,
          credentials.expiresAt
        )
        yield* connections.disconnect(key, Fixture.newEpoch())
        assert.isFalse(yield* set(2))
      }))

    it.effect("REF-12 remembers of credentials whether they were obtained because the ones before were refused", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const { epoch, key } = yield* connected
        const forced = Effect.map(connections.get(key), (read) => {
          const { forced, rejected } = Option.getOrThrow(read)
          return [forced, rejected]
        })
        yield* reject(key, 1)
        assert.deepStrictEqual(yield* forced, [false, true])
        yield* redeem(key, 1, epoch)
        assert.deepStrictEqual(yield* forced, [true, false])
        yield* reject(key, 2)
        assert.deepStrictEqual(yield* forced, [true, true])
        yield* redeem(key, 2, epoch)
        assert.deepStrictEqual(yield* forced, [true, false])
        yield* redeem(key, 3, epoch)
        assert.deepStrictEqual(yield* forced, [false, false])
        yield* reject(key, 4)
        yield* redeem(key, 4, epoch)
        yield* connections.deposit(key, Fixture.newWrite(5))
        assert.deepStrictEqual(yield* forced, [false, false])
      }))
  })
}
