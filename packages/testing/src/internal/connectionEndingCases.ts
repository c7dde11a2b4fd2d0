import { assert, describe, type Vitest } from "@effect/vitest"
import { sealContext } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { endingOf, RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { Duration, Effect, Option } from "effect"
import { claim, claimed, commit, connected, fail, markSent, owedFor, redeem, statusOf } from "./connectionSteps.ts"
import * as Fixture from "./contractFixtures.ts"

/** The cases of `ConnectionStore` about the end of a connection: disconnect, forget. */
export const cases = <R>(
  it: Vitest.MethodsNonLive<ConnectionStore | FlowStore | RevocationOutbox | R>,
  options: Fixture.ContractOptions<R>
): void => {
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
        assert.isUndefined(read.account)
        const owed = yield* owedFor(key)
        assert.strictEqual(owed.length, 1)
        const [entry] = owed
        assert.strictEqual(entry!.id, endingOf(key, epoch, 2))
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

  describe("forget", () => {
    it.effect("deletes the row, owes nothing, and leaves an open flow to its own end", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const flows = yield* FlowStore
        const { epoch, key } = yield* connected
        const other = (yield* connected).key
        const { id } = yield* Fixture.exchangingFlow(key)
        assert.isTrue(yield* connections.forget(key, { generation: Fixture.generation(1), epoch }))
        assert.isTrue(Option.isNone(yield* connections.get(key)))
        assert.deepStrictEqual(yield* owedFor(key), [])
        const flow = Option.getOrThrow(yield* flows.get({ id, ...Fixture.ownerOf(key) }))
        assert.strictEqual(flow.state, "exchanging")
        assert.strictEqual(yield* statusOf(other), "active")
        assert.isFalse(yield* connections.forget(key, { generation: Fixture.generation(1), epoch }))
      }))

    it.effect("I3 changes nothing while a refresh may be under way, or over credentials that nobody read", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const { epoch, key } = yield* connected
        const forget = (generation: number, life = epoch) =>
          connections.forget(key, { generation: Fixture.generation(generation), epoch: life })
        assert.isFalse(yield* forget(2))
        assert.isFalse(yield* forget(1, Fixture.newEpoch()))
        const fence = yield* claimed(key, 1)
        assert.isFalse(yield* forget(1))
        yield* markSent(key, 1, fence)
        assert.isFalse(yield* forget(1))
        // What the provider gave for the old credentials finds its row.
        assert.isTrue((yield* commit(key, 1, epoch)).stored)
        assert.isFalse(yield* forget(1))
        assert.isTrue(yield* forget(2))
      }))

    it.effect("changes nothing while an attempt of unknown outcome waits for another, whatever becomes of that one", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const { epoch, key } = yield* connected
        const forget = connections.forget(key, { generation: Fixture.generation(1), epoch })
        yield* markSent(key, 1, yield* claimed(key, 1))
        yield* fail(key, 1, 1, { _tag: "UnknownOutcome" })
        assert.isFalse(yield* forget)
        yield* options.advance(Fixture.pastLease)
        yield* markSent(key, 1, yield* claimed(key, 1))
        yield* fail(key, 1, 2, { _tag: "Retryable", delay: Duration.zero })
        assert.isFalse(yield* forget)
        assert.strictEqual(yield* statusOf(key), "active")
        // Once no attempt is left it is the person's turn, and the row says why.
        yield* markSent(key, 1, yield* claimed(key, 1))
        yield* fail(key, 1, 3, { _tag: "UnknownOutcome" })
        assert.strictEqual(yield* statusOf(key), "needs_reauth")
        assert.isTrue(yield* forget)
      }))

    it.effect("forgets a connection that needs its person, and none that is being revoked", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const failed = yield* connected
        const fence = yield* claimed(failed.key, 1)
        yield* markSent(failed.key, 1, fence)
        yield* fail(failed.key, 1, fence, { _tag: "Terminal", reason: "refresh_token_rejected" })
        const generation = Fixture.generation(1)
        assert.isTrue(yield* connections.forget(failed.key, { generation, epoch: failed.epoch }))
        const { key } = yield* connected
        const epoch = Fixture.newEpoch()
        yield* connections.disconnect(key, epoch)
        assert.isFalse(yield* connections.forget(key, { generation, epoch }))
        assert.strictEqual((yield* owedFor(key)).length, 1)
      }))
  })
}
