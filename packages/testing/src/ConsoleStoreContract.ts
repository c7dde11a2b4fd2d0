import { assert, type Vitest } from "@effect/vitest"
import { ConsoleSessionId } from "@valetkey/domain/ConsoleSession"
import { ConsoleStore } from "@valetkey/domain/ConsoleStore"
import { Digest } from "@valetkey/domain/Entropy"
import { SubjectId } from "@valetkey/domain/Subject"
import { DateTime, Duration, Effect, Option } from "effect"
import { randomBytes, randomUUID } from "node:crypto"
import * as Fixture from "./internal/contractFixtures.ts"

const within = Duration.minutes(10)
const lifetime = Duration.hours(1)
const idle = Duration.minutes(15)
const coarseness = Duration.minutes(1)

/** The cases of the contract of `ConsoleStore`, for a suite that shares its layer with others. */
export const cases = <R>(it: Vitest.MethodsNonLive<ConsoleStore | R>, options: Fixture.ContractOptions<R>): void => {
  it.effect("finds a link by its ticket alone, and forgets no part of whom it is for", () =>
    Effect.gen(function*() {
      const store = yield* ConsoleStore
      const { session, ticketHash } = yield* offered
      const found = Option.getOrThrow(yield* store.find(ticketHash))
      assert.deepStrictEqual(found, { session, taken: false })
      assert.deepStrictEqual(session.scopes, ["connections:read", "flows:write"])
      assert.strictEqual(Duration.toMillis(DateTime.distance(session.createdAt, session.expiresAt)), 600_000)
      assert.isTrue(Option.isNone(yield* store.find(newDigest())))
    }))

  it.effect("lets one of many browsers in, once, and says to the others that the link is taken", () =>
    Effect.gen(function*() {
      const store = yield* ConsoleStore
      const { session, ticketHash } = yield* offered
      const hashes = Array.from({ length: 8 }, newDigest)
      const taken = yield* Effect.forEach(
        hashes,
        (sessionHash) => store.take({ ticketHash, sessionHash, lifetime }),
        { concurrency: 8 }
      )
      assert.lengthOf(taken.filter(Option.isSome), 1)
      const visits = yield* Effect.forEach(hashes, visit)
      assert.deepStrictEqual(visits.map(Option.isSome), taken.map(Option.isSome))
      const own = Option.getOrThrow(taken.find(Option.isSome)!)
      assert.deepStrictEqual({ ...own, expiresAt: 0 }, { ...session, expiresAt: 0 } as never)
      const found = Option.getOrThrow(yield* store.find(ticketHash))
      assert.deepStrictEqual(found, { session: own, taken: true })
      const again = yield* store.take({ ticketHash, sessionHash: newDigest(), lifetime })
      assert.isTrue(Option.isNone(again))
    }))

  it.effect("lets nobody in when the time of the link is over", () =>
    Effect.gen(function*() {
      const store = yield* ConsoleStore
      const { ticketHash } = yield* offered
      yield* options.advance(Duration.minutes(11))
      assert.isTrue(Option.isNone(yield* store.find(ticketHash)))
      assert.isTrue(Option.isNone(yield* store.take({ ticketHash, sessionHash: newDigest(), lifetime })))
    }))

  it.effect("keeps a session that is visited, to its end and no longer, and none that is idle", () =>
    Effect.gen(function*() {
      const store = yield* ConsoleStore
      const [busy, lazy] = [yield* entered, yield* entered]
      for (let minutes = 0; minutes < 50; minutes += 10) {
        yield* options.advance(Duration.minutes(10))
        assert.isTrue(Option.isSome(yield* visit(busy)), `after ${minutes + 10} minutes`)
      }
      assert.isTrue(Option.isNone(yield* visit(lazy)))
      // Not the visit that came too late, and not the next one.
      assert.isTrue(Option.isNone(yield* visit(lazy)))
      yield* options.advance(Duration.minutes(11))
      assert.isTrue(Option.isNone(yield* visit(busy)))
      assert.isAtLeast(yield* store.sweep(100), 2)
    }))

  it.effect("ends a session once and for good, and no other", () =>
    Effect.gen(function*() {
      const store = yield* ConsoleStore
      const [one, other] = [yield* entered, yield* entered]
      assert.isTrue(Option.isSome(yield* store.end(one)))
      assert.isTrue(Option.isNone(yield* store.end(one)))
      assert.isTrue(Option.isNone(yield* visit(one)))
      assert.isTrue(Option.isSome(yield* visit(other)))
    }))

  it.effect("forgets what is over and nothing that is not, as many at once as asked for", () =>
    Effect.gen(function*() {
      const store = yield* ConsoleStore
      while ((yield* store.sweep(100)) > 0);
      for (let index = 0; index < 3; index++) yield* offered
      const live = yield* entered
      yield* options.advance(Duration.minutes(11))
      const fresh = yield* offered
      assert.isTrue(Option.isSome(yield* visit(live)))
      assert.deepStrictEqual([yield* store.sweep(2), yield* store.sweep(2), yield* store.sweep(2)], [2, 1, 0])
      assert.isTrue(Option.isSome(yield* visit(live)))
      assert.isTrue(Option.isSome(yield* store.find(fresh.ticketHash)))
    }))
}

const newDigest = (): Digest => Digest.make(randomBytes(32).toString("base64url"))

const offered = Effect.gen(function*() {
  const store = yield* ConsoleStore
  const ticketHash = newDigest()
  const draft = {
    id: ConsoleSessionId.make(randomUUID()),
    tenant: Fixture.newTenant(),
    subject: SubjectId.make("ada"),
    scopes: ["connections:read", "flows:write"]
  }
  return { ticketHash, session: yield* store.offer(draft, { ticketHash, within }) }
})

const entered = Effect.gen(function*() {
  const store = yield* ConsoleStore
  const { ticketHash } = yield* offered
  const sessionHash = newDigest()
  yield* store.take({ ticketHash, sessionHash, lifetime })
  return sessionHash
})

const visit = (sessionHash: Digest) =>
  Effect.flatMap(ConsoleStore, (store) => store.visit({ sessionHash, idle, coarseness }))
