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

/** The epoch that a caller reads before it acts; one that nobody has when there is no connection. */
const epochOf = (connections: ConnectionStore["Service"], key: Key) =>
  Effect.map(
    connections.get(key),
    Option.match({ onNone: Fixture.newEpoch, onSome: ({ epoch }) => epoch })
  )

export const claim = (key: Key, generation: number, policy: Policy = "retry-once") =>
  Effect.gen(function*() {
    const connections = yield* ConnectionStore
    const epoch = yield* epochOf(connections, key)
    return yield* connections.claim(key, {
      generation: Fixture.generation(generation),
      epoch,
      policy,
      lease: Fixture.lease
    })
  })

export const claimed = (key: Key, generation: number, policy: Policy = "retry-once") =>
  Effect.flatMap(
    claim(key, generation, policy),
    (outcome) => outcome._tag === "Claimed" ? Effect.succeed(outcome.fence) : Effect.die(`claim gave ${outcome._tag}`)
  )

export const markSent = (key: Key, generation: number, fence: number) =>
  Effect.gen(function*() {
    const connections = yield* ConnectionStore
    const epoch = yield* epochOf(connections, key)
    return yield* connections.markSent(key, {
      generation: Fixture.generation(generation),
      epoch,
      fence,
      lease: Fixture.lease
    })
  })

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
  Effect.gen(function*() {
    const connections = yield* ConnectionStore
    const epoch = yield* epochOf(connections, key)
    return yield* connections.fail(key, { generation: Fixture.generation(generation), epoch, fence, policy, failure })
  })

export const reject = (key: Key, generation: number) =>
  Effect.gen(function*() {
    const connections = yield* ConnectionStore
    const epoch = yield* epochOf(connections, key)
    yield* connections.reject(key, { generation: Fixture.generation(generation), epoch })
  })

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
