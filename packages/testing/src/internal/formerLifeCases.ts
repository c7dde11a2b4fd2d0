import { assert, describe, type Vitest } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import type { RefreshFailure } from "@valetkey/domain/Refresh"
import { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { Duration, Effect, Option } from "effect"
import { claimed, commit, connected, markSent, owedFor } from "./connectionSteps.ts"
import * as Fixture from "./contractFixtures.ts"

/** The cases of `ConnectionStore` about a connection that was deleted and made anew while somebody redeemed the old one. */
export const cases = <R>(it: Vitest.MethodsNonLive<ConnectionStore | RevocationOutbox | R>): void => {
  describe("a connection of the same name", () => {
    it.effect("I4 gives no claim to who read the former one", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const { epoch, key } = yield* reborn(claimed)
        const claim = connections.claim(key, { ...former, epoch, policy: "retry-once", lease: Fixture.lease })
        assert.strictEqual((yield* claim)._tag, "Moved")
      }))

    it.effect("I4 sends nothing for the claim of the former one, although generation and fence are the same", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const { epoch, key } = yield* reborn(claimed)
        const fence = yield* claimed(key, 1)
        assert.isFalse(yield* connections.markSent(key, { ...former, epoch, fence, lease: Fixture.lease }))
        assert.isTrue(yield* markSent(key, 1, fence))
      }))

    it.effect("I4 is not marked by any failure of the former one's redemption", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        for (const failure of failures) {
          const { epoch, key } = yield* reborn(sent)
          const fence = yield* sent(key, 1)
          const before = Fixture.connectionView(Option.getOrThrow(yield* connections.get(key)))
          assert.isFalse(yield* connections.fail(key, { ...former, epoch, fence, policy: "strict", failure }))
          assert.deepStrictEqual(Fixture.connectionView(Option.getOrThrow(yield* connections.get(key))), before)
          // The lease is still that of the new life's holder.
          const current = Option.getOrThrow(yield* connections.get(key)).epoch
          assert.strictEqual(
            (yield* connections.claim(key, { ...former, epoch: current, policy: "strict", lease: Fixture.lease }))._tag,
            "Busy"
          )
        }
      }))

    it.effect("BIND-14 I23 never gets the late result of the former one", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const { epoch, key, write } = yield* reborn(sent)
        yield* sent(key, 1)
        assert.isFalse((yield* commit(key, 1, epoch)).stored)
        const read = Option.getOrThrow(yield* connections.get(key))
        assert.deepStrictEqual([read.generation, read.epoch], [Fixture.generation(1), write.epoch])
        assert.strictEqual(Fixture.hex(read.credentials.accessToken), Fixture.hex(write.credentials.accessToken))
        assert.isTrue((yield* commit(key, 1, write.epoch)).stored)
      }))

    it.effect("I6 is not rejected for the access token of the former one", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const { epoch, key } = yield* reborn(claimed)
        yield* connections.reject(key, { ...former, epoch })
        assert.isFalse(Option.getOrThrow(yield* connections.get(key)).rejected)
      }))
  })
}

const former = { generation: Fixture.generation(1) }

const failures: ReadonlyArray<RefreshFailure> = [
  { _tag: "Terminal", reason: "refresh_token_rejected" },
  { _tag: "Retryable", delay: Duration.minutes(1) },
  { _tag: "UnknownOutcome" }
]

const sent = Effect.fnUntraced(function*(key: ReturnType<typeof Fixture.newKey>, generation: number) {
  const fence = yield* claimed(key, generation)
  yield* markSent(key, generation, fence)
  return fence
})

/** A connection that was disconnected, deleted and made anew after somebody got as far as `step`: `epoch` is the former. */
const reborn = Effect.fnUntraced(function*(step: typeof sent | typeof claimed) {
  const connections = yield* ConnectionStore
  const outbox = yield* RevocationOutbox
  const { epoch, key } = yield* connected
  yield* step(key, 1)
  yield* connections.disconnect(key, Fixture.newEpoch())
  for (const { id } of yield* owedFor(key)) yield* outbox.settle(id)
  assert.isTrue(Option.isNone(yield* connections.get(key)))
  const write = Fixture.newWrite(0)
  assert.isTrue(yield* connections.deposit(key, write))
  return { epoch, key, write }
})
