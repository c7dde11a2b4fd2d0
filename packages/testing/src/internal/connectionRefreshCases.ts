import { assert, describe, type Vitest } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import type { FlowStore } from "@valetkey/domain/FlowStore"
import type { RefreshFailure } from "@valetkey/domain/Refresh"
import type { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { DateTime, Duration, Effect, Option } from "effect"
import { randomUUID } from "node:crypto"
import { claim, claimed, commit, connected, fail, markSent, redeem, reject, statusOf } from "./connectionSteps.ts"
import * as Fixture from "./contractFixtures.ts"

/** The cases of `ConnectionStore` about a refresh: claim, markSent, commit, fail, reject. */
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
