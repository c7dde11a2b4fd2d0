import { assert, describe, it, type Vitest } from "@effect/vitest"
import { sealContext } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { FlowStore } from "@valetkey/domain/FlowStore"
import type { RefreshFailure } from "@valetkey/domain/Refresh"
import { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { ServerSlug } from "@valetkey/domain/Server"
import { Duration, Effect, type Layer, Option } from "effect"
import { randomUUID } from "node:crypto"
import * as Fixture from "./internal/contractFixtures.ts"
import * as RefreshHistories from "./internal/refreshHistories.ts"

/** Runs the contract of `ConnectionStore` on a layer; a disconnect is observed through the other ports of the same layer. */
export const suite = <R>(
  name: string,
  layer: Layer.Layer<ConnectionStore | FlowStore | RevocationOutbox | R, unknown>,
  options: Fixture.ContractOptions<R>
): void => {
  describe(`ConnectionStore (${name})`, () => it.layer(layer, { timeout: "60 seconds" })((it) => cases(it, options)))
}

/** The cases of the contract, for a suite that shares its layer with others. */
export const cases = <R>(
  it: Vitest.MethodsNonLive<ConnectionStore | FlowStore | RevocationOutbox | R>,
  options: Fixture.ContractOptions<R>
): void => {
  describe("deposit, get and list", () => {
    it.effect("gives back what was deposited, as generation 1", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const key = Fixture.newKey()
        const write = Fixture.newWrite(0)
        assert.isTrue(yield* connections.deposit(key, write))
        const read = Option.getOrThrow(yield* connections.get(key))
        const view = Fixture.connectionView(read)
        assert.deepStrictEqual(view, {
          key: key.path,
          epoch: write.epoch,
          generation: Fixture.generation(1),
          status: { _tag: "active" },
          grant: write.grant,
          clientSecret: Fixture.hex(write.clientSecret),
          credentials: Fixture.credentialsView(write.credentials),
          rejected: false,
          createdAt: view.createdAt,
          updatedAt: view.createdAt
        })
      }))

    it.effect("S1.12 S1.37 gives back credentials without refresh token, scopes and expiry", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const key = Fixture.newKey()
        const { accessToken, issuedAt, tokenType } = Fixture.newCredentials()
        const { issuer, tokenEndpoint, clientId } = Fixture.newGrant()
        const grant = { issuer, tokenEndpoint, clientId, authMethod: "none", redemptionPolicy: "strict" } as const
        const credentials = { accessToken, issuedAt, tokenType }
        yield* connections.deposit(key, { epoch: Fixture.newEpoch(), previous: 0, grant, credentials })
        const read = Option.getOrThrow(yield* connections.get(key))
        assert.deepStrictEqual(Fixture.credentialsView(read.credentials), Fixture.credentialsView(credentials))
        assert.deepStrictEqual(read.grant, grant)
        assert.isUndefined(read.clientSecret)
      }))

    it.effect("I4 deposits over the generation that the caller saw, and over no other", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const key = Fixture.newKey()
        assert.isFalse(yield* connections.deposit(key, Fixture.newWrite(1)))
        assert.isTrue(Option.isNone(yield* connections.get(key)))
        yield* connections.deposit(key, Fixture.newWrite(0))
        const read = Effect.map(connections.get(key), Option.map(Fixture.connectionView))
        const before = yield* read
        for (const previous of [0, 2]) {
          assert.isFalse(yield* connections.deposit(key, Fixture.newWrite(previous)))
          assert.deepStrictEqual(yield* read, before)
        }
        const next = Fixture.newWrite(1)
        assert.isTrue(yield* connections.deposit(key, next))
        const after = Option.getOrThrow(yield* connections.get(key))
        assert.deepStrictEqual([after.generation, after.epoch], [Fixture.generation(2), next.epoch])
      }))

    it.effect("I4 lets one of ten concurrent depositors win", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const key = Fixture.newKey()
        for (const previous of [0, 1]) {
          const writes = Array.from({ length: 10 }, () => Fixture.newWrite(previous))
          const all = yield* Effect.all(writes.map((write) => connections.deposit(key, write)), {
            concurrency: "unbounded"
          })
          assert.strictEqual(all.filter((won) => won).length, 1)
          const read = Option.getOrThrow(yield* connections.get(key))
          assert.strictEqual(read.epoch, writes[all.indexOf(true)]!.epoch)
          assert.strictEqual(read.generation, Fixture.generation(previous + 1))
        }
      }))

    it.effect("S4.63 I10 keeps tenants, subjects and servers apart", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const key = Fixture.newKey()
        const { server, subject, tenant } = key
        const others = [
          Fixture.newKey({ tenant, subject }),
          Fixture.newKey({ tenant, server }),
          Fixture.newKey({ subject, server })
        ]
        yield* connections.deposit(key, Fixture.newWrite(0))
        for (const other of others) {
          assert.isTrue(Option.isNone(yield* connections.get(other)))
          assert.strictEqual((yield* claim(other, 1))._tag, "Moved")
          assert.isFalse(yield* connections.disconnect(other, Fixture.newEpoch()))
        }
        assert.strictEqual(Option.getOrThrow(yield* connections.get(key)).status._tag, "active")
      }))

    it.effect("I10 lists the owner's connections alone, by slug, page after page", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const owner = Fixture.newKey()
        const { subject, tenant } = owner
        // Sorted by code point; a locale would put them in another order.
        const slugs = ["a", "a-b", "a.b", "a0", "a_b", "aa", "b"]
        for (const server of [...slugs].reverse()) {
          yield* connections.deposit(Fixture.newKey({ tenant, subject, server }), Fixture.newWrite(0))
        }
        yield* connections.deposit(Fixture.newKey({ tenant, server: "a" }), Fixture.newWrite(0))
        yield* connections.deposit(Fixture.newKey({ subject, server: "a" }), Fixture.newWrite(0))
        const page = (after: string | undefined, limit: number) =>
          Effect.map(
            connections.list({
              tenant,
              subject,
              after: after === undefined ? undefined : ServerSlug.make(after),
              limit
            }),
            (found) => found.map((one) => String(one.key.server))
          )
        assert.deepStrictEqual(yield* page(undefined, 100), slugs)
        assert.deepStrictEqual(yield* page(undefined, 3), slugs.slice(0, 3))
        assert.deepStrictEqual(yield* page("a.b", 3), slugs.slice(3, 6))
        assert.deepStrictEqual(yield* page("a-c", 1), ["a.b"])
        assert.deepStrictEqual(yield* page("b", 3), [])
        const [first] = yield* connections.list({ tenant, subject, after: undefined, limit: 1 })
        const got = yield* connections.get(Fixture.newKey({ tenant, subject, server: "a" }))
        assert.deepStrictEqual(first && Fixture.connectionView(first), Fixture.connectionView(Option.getOrThrow(got)))
      }))

    it.effect("S1.14 knows nothing of an unknown connection and creates none", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const key = Fixture.newKey()
        assert.strictEqual((yield* claim(key, 1))._tag, "Moved")
        assert.isFalse(yield* markSent(key, 1, 1))
        assert.isFalse(yield* fail(key, 1, 1, { _tag: "UnknownOutcome" }))
        assert.isFalse((yield* commit(key, 1, Fixture.newEpoch())).stored)
        assert.isFalse(yield* connections.isCommitted(key, randomUUID()))
        yield* connections.reject(key, Fixture.generation(1))
        assert.isFalse(yield* connections.disconnect(key, Fixture.newEpoch()))
        assert.isTrue(Option.isNone(yield* connections.get(key)))
        assert.deepStrictEqual(
          yield* connections.list({ ...Fixture.ownerOf(key), after: undefined, limit: 10 }),
          []
        )
      }))
  })

  describe("claim and markSent", () => {
    it.effect("I1 REF-02 REF-25 lets one of twenty concurrent callers redeem", () =>
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
        assert.strictEqual((yield* claim(key, 1, "strict"))._tag, "Moved")
        const read = Option.getOrThrow(yield* (yield* ConnectionStore).get(key))
        assert.deepStrictEqual(read.status, { _tag: "needs_reauth", reason: "unknown_outcome" })
        assert.strictEqual((yield* claim(key, 1, "strict"))._tag, "Moved")
      }))

    it.effect("I1 CR-02 CR-10 sends a retry-once refresh token at most twice", () =>
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
        yield* connections.reject(key, Fixture.generation(1))
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

    it.effect("I6 REF-10 remembers that the current access token was refused, and of an older one nothing", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const { epoch, key } = yield* connected
        yield* connections.reject(key, Fixture.generation(2))
        assert.isFalse(Option.getOrThrow(yield* connections.get(key)).rejected)
        yield* connections.reject(key, Fixture.generation(1))
        yield* connections.reject(key, Fixture.generation(1))
        assert.isTrue(Option.getOrThrow(yield* connections.get(key)).rejected)
        yield* redeem(key, 1, epoch)
        yield* connections.reject(key, Fixture.generation(1))
        assert.isFalse(Option.getOrThrow(yield* connections.get(key)).rejected)
      }))
  })

  describe("disconnect", () => {
    it.effect("I23 LIFE-01 leaves no secret in the row and moves every one of them to the outbox", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const { epoch, key, write } = yield* connected
        const { credentials } = yield* redeem(key, 1, epoch)
        const next = Fixture.newEpoch()
        assert.isTrue(yield* connections.disconnect(key, next))
        const read = Option.getOrThrow(yield* connections.get(key))
        assert.deepStrictEqual([read.status._tag, read.epoch], ["revoking", next])
        assert.strictEqual(read.credentials.accessToken.byteLength, 0)
        assert.isUndefined(read.credentials.refreshToken)
        assert.isUndefined(read.clientSecret)
        const owed = yield* owedFor(key)
        assert.strictEqual(owed.length, 1)
        const [entry] = owed
        assert.deepStrictEqual(entry!.grant, write.grant)
        const secret = (sealed: Uint8Array, field: Parameters<typeof sealContext>[2], generation: number) => ({
          sealed: Fixture.hex(sealed),
          context: sealContext(key, epoch, field, generation)
        })
        const held = [entry!.accessToken, entry!.refreshToken, entry!.clientSecret]
        assert.deepStrictEqual(
          held.map((one) => one && { sealed: Fixture.hex(one.sealed), context: one.context }),
          [
            secret(credentials.accessToken, "access_token", 2),
            secret(credentials.refreshToken!, "refresh_token", 2),
            secret(write.clientSecret, "client_secret", 0)
          ]
        )
      }))

    it.effect("REF-18 I23 voids a refresh that is under way", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const { epoch, key } = yield* connected
        const fence = yield* claimed(key, 1)
        yield* markSent(key, 1, fence)
        const next = Fixture.newEpoch()
        yield* connections.disconnect(key, next)
        assert.isFalse((yield* commit(key, 1, epoch)).stored)
        assert.isFalse((yield* commit(key, 1, next)).stored)
        assert.isFalse(yield* fail(key, 1, fence, { _tag: "Terminal", reason: "refresh_token_rejected" }))
        assert.strictEqual((yield* claim(key, 1))._tag, "Moved")
        assert.strictEqual(yield* statusOf(key), "revoking")
      }))

    it.effect("cancels the open flow of the connection in the same step", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const flows = yield* FlowStore
        const { key } = yield* connected
        const { claimed, id } = yield* Fixture.exchangingFlow(key)
        yield* connections.disconnect(key, Fixture.newEpoch())
        const flow = Option.getOrThrow(yield* flows.get({ id, ...Fixture.ownerOf(key) }))
        assert.strictEqual(flow.state, "cancelled")
        assert.strictEqual((yield* flows.complete(id, claimed.fence, Fixture.newWrite(1)))._tag, "ClaimLost")
        assert.strictEqual(yield* statusOf(key), "revoking")
      }))

    it.effect("ends an open flow of a key that has no connection yet", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        yield* Fixture.startFlow(key)
        assert.isTrue(yield* connections.disconnect(key, Fixture.newEpoch()))
        assert.strictEqual(Option.getOrThrow(yield* flows.latest(key)).state, "cancelled")
        assert.isTrue(Option.isNone(yield* connections.get(key)))
        assert.deepStrictEqual(yield* owedFor(key), [])
      }))

    it.effect("ends a connection once, however many ask at once", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const { key } = yield* connected
        const all = yield* Effect.all(
          Array.from({ length: 10 }, () => connections.disconnect(key, Fixture.newEpoch())),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(all.filter((won) => won).length, 1)
        assert.strictEqual((yield* owedFor(key)).length, 1)
        assert.isFalse(yield* connections.disconnect(key, Fixture.newEpoch()))
      }))

    it.effect("I4 goes on counting when the person connects again, and a late settling leaves the new life alone", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const flows = yield* FlowStore
        const outbox = yield* RevocationOutbox
        const { key } = yield* connected
        yield* connections.disconnect(key, Fixture.newEpoch())
        const { claimed, id } = yield* Fixture.exchangingFlow(key)
        assert.deepStrictEqual(
          yield* flows.complete(id, claimed.fence, Fixture.newWrite(0)),
          { _tag: "GenerationMoved", current: 1 }
        )
        yield* flows.complete(id, claimed.fence, Fixture.newWrite(1))
        const [entry] = yield* owedFor(key)
        yield* outbox.settle(entry!.id)
        const read = Option.getOrThrow(yield* connections.get(key))
        assert.deepStrictEqual([read.status._tag, read.generation], ["active", Fixture.generation(2)])
      }))
  })

  RefreshHistories.cases(it, options)
}

const connected = Effect.gen(function*() {
  const connections = yield* ConnectionStore
  const key = Fixture.newKey()
  const write = Fixture.newWrite(0)
  yield* connections.deposit(key, write)
  return { key, write, epoch: write.epoch }
})

type Key = ReturnType<typeof Fixture.newKey>
type Policy = Fixture.Policy

const claim = (key: Key, generation: number, policy: Policy = "retry-once") =>
  Effect.flatMap(
    ConnectionStore,
    (connections) =>
      connections.claim(key, { generation: Fixture.generation(generation), policy, lease: Fixture.lease })
  )

const claimed = (key: Key, generation: number, policy: Policy = "retry-once") =>
  Effect.flatMap(
    claim(key, generation, policy),
    (outcome) => outcome._tag === "Claimed" ? Effect.succeed(outcome.fence) : Effect.die(`claim gave ${outcome._tag}`)
  )

const markSent = (key: Key, generation: number, fence: number) =>
  Effect.flatMap(
    ConnectionStore,
    (connections) =>
      connections.markSent(key, { generation: Fixture.generation(generation), fence, lease: Fixture.lease })
  )

const commit = Effect.fnUntraced(function*(key: Key, generation: number, epoch: ReturnType<typeof Fixture.newEpoch>) {
  const connections = yield* ConnectionStore
  const credentials = Fixture.newCredentials()
  const resultId = randomUUID()
  const stored = yield* connections.commit(key, {
    generation: Fixture.generation(generation),
    epoch,
    credentials,
    resultId
  })
  return { stored, credentials, resultId }
})

const redeem = Effect.fnUntraced(function*(key: Key, generation: number, epoch: ReturnType<typeof Fixture.newEpoch>) {
  yield* markSent(key, generation, yield* claimed(key, generation))
  const result = yield* commit(key, generation, epoch)
  assert.isTrue(result.stored)
  return result
})

const fail = (key: Key, generation: number, fence: number, failure: RefreshFailure, policy: Policy = "retry-once") =>
  Effect.flatMap(
    ConnectionStore,
    (connections) => connections.fail(key, { generation: Fixture.generation(generation), fence, policy, failure })
  )

const statusOf = (key: Key) =>
  Effect.flatMap(
    ConnectionStore,
    (connections) => Effect.map(connections.get(key), (read) => Option.getOrThrow(read).status._tag)
  )

// The outbox belongs to every case: this takes all that is due, whoever put it there, and looks at one key's.
const owedFor = (key: Key) =>
  Effect.flatMap(RevocationOutbox, (outbox) =>
    Effect.map(
      outbox.take({ limit: 1000, lease: Duration.seconds(1) }),
      (owed) => owed.filter((entry) => entry.key.path === key.path)
    ))
