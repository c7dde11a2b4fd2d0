import { assert, describe, type Vitest } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import type { FlowStore } from "@valetkey/domain/FlowStore"
import type { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { Effect, Option } from "effect"
import { randomUUID } from "node:crypto"
import { claim, claimed, commit, connected, fail, markSent, redeem, reject, statusOf } from "./connectionSteps.ts"
import * as Fixture from "./contractFixtures.ts"

/** The cases of `ConnectionStore` about what a redemption brought: commit, isCommitted. */
export const cases = <R>(
  it: Vitest.MethodsNonLive<ConnectionStore | FlowStore | RevocationOutbox | R>,
  options: Fixture.ContractOptions<R>
): void => {
  describe("commit", () => {
    it.effect("stores the next generation, ends the claim and forgets the rejection", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const { epoch, key, write } = yield* connected
        yield* reject(key, 1)
        const { credentials, resultId } = yield* redeem(key, 1, epoch)
        const read = Option.getOrThrow(yield* connections.get(key))
        assert.deepStrictEqual(Fixture.credentialsView(read.credentials), Fixture.credentialsView(credentials))
        assert.deepStrictEqual(
          [read.generation, read.epoch, read.status._tag, read.rejected],
          [Fixture.generation(2), epoch, "active", false]
        )
        assert.deepStrictEqual(read.grant, write.grant)
        assert.strictEqual(read.clientSecret && Fixture.hex(read.clientSecret), Fixture.hex(write.clientSecret))
        assert.isTrue(yield* connections.isCommitted(key, resultId))
        assert.strictEqual((yield* claim(key, 2))._tag, "Claimed")
      }))

    it.effect("CR-09 tells which result the current credentials are", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const { epoch, key } = yield* connected
        const first = yield* redeem(key, 1, epoch)
        assert.isFalse(yield* connections.isCommitted(key, randomUUID()))
        const second = yield* redeem(key, 2, epoch)
        assert.isFalse(yield* connections.isCommitted(key, first.resultId))
        assert.isTrue(yield* connections.isCommitted(key, second.resultId))
        yield* connections.deposit(key, Fixture.newWrite(3))
        assert.isFalse(yield* connections.isCommitted(key, second.resultId))
      }))

    it.effect("I4 stores one of ten concurrent results of a generation", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const { epoch, key } = yield* connected
        const all = yield* Effect.all(Array.from({ length: 10 }, () => commit(key, 1, epoch)), {
          concurrency: "unbounded"
        })
        const won = all.filter((one) => one.stored)
        assert.strictEqual(won.length, 1)
        assert.isTrue(yield* connections.isCommitted(key, won[0]!.resultId))
        assert.strictEqual(Option.getOrThrow(yield* connections.get(key)).generation, Fixture.generation(2))
      }))

    it.effect("I4 stores nothing for another generation or epoch", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const { epoch, key } = yield* connected
        const read = Effect.map(connections.get(key), Option.map(Fixture.connectionView))
        const before = yield* read
        assert.isFalse((yield* commit(key, 1, Fixture.newEpoch())).stored)
        assert.isFalse((yield* commit(key, 0, epoch)).stored)
        assert.isFalse((yield* commit(key, 2, epoch)).stored)
        assert.deepStrictEqual(yield* read, before)
      }))

    it.effect("REF-07 S4.60 I4 never lets a late result overwrite a new consent", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const { epoch, key } = yield* connected
        yield* markSent(key, 1, yield* claimed(key, 1))
        const consent = Fixture.newWrite(1)
        yield* connections.deposit(key, consent)
        assert.isFalse((yield* commit(key, 1, epoch)).stored)
        assert.isFalse((yield* commit(key, 2, epoch)).stored)
        const read = Option.getOrThrow(yield* connections.get(key))
        assert.deepStrictEqual(Fixture.credentialsView(read.credentials), Fixture.credentialsView(consent.credentials))
        assert.strictEqual((yield* claim(key, 2))._tag, "Claimed")
      }))

    it.effect("REF-08 REF-09 I5 adopts a late result, and the second holder neither overwrites nor marks it", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const { epoch, key } = yield* connected
        yield* markSent(key, 1, yield* claimed(key, 1))
        yield* options.advance(Fixture.pastLease)
        const second = yield* claimed(key, 1)
        yield* markSent(key, 1, second)
        const late = yield* commit(key, 1, epoch)
        assert.isTrue(late.stored)
        assert.isFalse(yield* fail(key, 1, second, { _tag: "Terminal", reason: "refresh_token_rejected" }))
        assert.isFalse((yield* commit(key, 1, epoch)).stored)
        assert.isTrue(yield* connections.isCommitted(key, late.resultId))
        assert.strictEqual(yield* statusOf(key), "active")
      }))

    it.effect("REF-08 I5 takes needs_reauth back when the result that was missing arrives", () =>
      Effect.gen(function*() {
        const { epoch, key } = yield* connected
        yield* markSent(key, 1, yield* claimed(key, 1, "strict"))
        yield* options.advance(Fixture.pastLease)
        yield* claim(key, 1, "strict")
        assert.strictEqual(yield* statusOf(key), "needs_reauth")
        assert.isTrue((yield* commit(key, 1, epoch)).stored)
        assert.strictEqual(yield* statusOf(key), "active")
      }))
  })
}
