import { assert } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import type { RefreshFailure } from "@valetkey/domain/Refresh"
import { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { Duration, Effect, Option } from "effect"
import { randomUUID } from "node:crypto"
import * as Fixture from "./contractFixtures.ts"

export const connected = Effect.gen(function*() {
  const connections = yield* ConnectionStore
  const key = Fixture.newKey()
  const write = Fixture.newWrite(0)
  yield* connections.deposit(key, write)
  return { key, write, epoch: write.epoch }
})

type Key = ReturnType<typeof Fixture.newKey>
type Policy = Fixture.Policy

export const claim = (key: Key, generation: number, policy: Policy = "retry-once") =>
  Effect.flatMap(
    ConnectionStore,
    (connections) =>
      connections.claim(key, { generation: Fixture.generation(generation), policy, lease: Fixture.lease })
  )

export const claimed = (key: Key, generation: number, policy: Policy = "retry-once") =>
  Effect.flatMap(
    claim(key, generation, policy),
    (outcome) => outcome._tag === "Claimed" ? Effect.succeed(outcome.fence) : Effect.die(`claim gave ${outcome._tag}`)
  )

export const markSent = (key: Key, generation: number, fence: number) =>
  Effect.flatMap(
    ConnectionStore,
    (connections) =>
      connections.markSent(key, { generation: Fixture.generation(generation), fence, lease: Fixture.lease })
  )

export const commit = Effect.fnUntraced(
  function*(key: Key, generation: number, epoch: ReturnType<typeof Fixture.newEpoch>) {
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
  }
)

export const redeem = Effect.fnUntraced(
  function*(key: Key, generation: number, epoch: ReturnType<typeof Fixture.newEpoch>) {
    yield* markSent(key, generation, yield* claimed(key, generation))
    const result = yield* commit(key, generation, epoch)
    assert.isTrue(result.stored)
    return result
  }
)

export const fail = (
  key: Key,
  generation: number,
  fence: number,
  failure: RefreshFailure,
  policy: Policy = "retry-once"
) =>
  Effect.flatMap(
    ConnectionStore,
    (connections) => connections.fail(key, { generation: Fixture.generation(generation), fence, policy, failure })
  )

export const statusOf = (key: Key) =>
  Effect.flatMap(
    ConnectionStore,
    (connections) => Effect.map(connections.get(key), (read) => Option.getOrThrow(read).status._tag)
  )

// The outbox belongs to every case: this takes all that is due, whoever put it there, and looks at one key's.
export const owedFor = (key: Key) =>
  Effect.flatMap(RevocationOutbox, (outbox) =>
    Effect.map(
      outbox.take({ limit: 1000, lease: Duration.seconds(1) }),
      (owed) => owed.filter((entry) => entry.key.path === key.path)
    ))
