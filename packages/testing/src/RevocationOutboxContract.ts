import { assert, describe, it, type Vitest } from "@effect/vitest"
import { sealContext } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { endingOf, type OutboxSecret, type Revocation, RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { Duration, Effect, type Layer, Option } from "effect"
import { randomUUID } from "node:crypto"
import * as Fixture from "./internal/contractFixtures.ts"

/** Runs the contract of `RevocationOutbox` on a layer; settling is observed through the `ConnectionStore` of the same layer. */
export const suite = <R>(
  name: string,
  layer: Layer.Layer<RevocationOutbox | ConnectionStore | R, unknown>,
  options: Fixture.ContractOptions<R>
): void => {
  describe(`RevocationOutbox (${name})`, () => it.layer(layer, { timeout: "60 seconds" })((it) => cases(it, options)))
}

/** The cases of the contract, for a suite that shares its layer with others. */
export const cases = <R>(
  it: Vitest.MethodsNonLive<RevocationOutbox | ConnectionStore | R>,
  options: Fixture.ContractOptions<R>
): void => {
  it.effect("gives back an entry with every secret and its context, counting the attempt", () =>
    Effect.gen(function*() {
      const entry = newEntry()
      yield* enqueue(entry)
      const taken = yield* take([entry])
      assert.deepStrictEqual(taken.map(view), [view({ ...entry, attempts: 1 })])
    }))

  it.effect("gives back an entry with nothing but an access token", () =>
    Effect.gen(function*() {
      const { refreshToken: _, clientSecret: __, ...entry } = newEntry()
      yield* enqueue(entry)
      const taken = yield* take([entry])
      assert.deepStrictEqual(taken.map(view), [view({ ...entry, attempts: 1 })])
    }))

  it.effect("gives an entry to one of ten concurrent takers, until its lease ends", () =>
    Effect.gen(function*() {
      const entry = newEntry()
      yield* enqueue(entry)
      const all = yield* Effect.all(Array.from({ length: 10 }, () => take([entry])), { concurrency: "unbounded" })
      assert.strictEqual(all.flat().length, 1)
      assert.deepStrictEqual(yield* take([entry]), [])
      yield* options.advance(Fixture.pastLease)
      const again = yield* take([entry])
      assert.deepStrictEqual(again.map((one) => one.attempts), [2])
    }))

  it.effect("owes what a deposit takes the place of in the same step, where it says so and wins, and never twice", () =>
    Effect.gen(function*() {
      const connections = yield* ConnectionStore
      const key = Fixture.newKey()
      const first = Fixture.newWrite(0)
      assert.isTrue(yield* connections.deposit(key, { ...first, owesFormer: true }))
      assert.isTrue(yield* connections.deposit(key, { ...Fixture.newWrite(1), epoch: Fixture.newEpoch() }))
      const former = Option.getOrThrow(yield* connections.get(key))
      assert.isEmpty(yield* take([{ key }]))
      const writes = Array.from({ length: 5 }, () => ({ ...Fixture.newWrite(2), owesFormer: true }))
      const won = yield* Effect.forEach(writes, (write) => connections.deposit(key, write), {
        concurrency: "unbounded"
      })
      assert.lengthOf(won.filter((one) => one), 1)
      const context = (field: "access_token" | "client_secret" | "refresh_token", at: number) =>
        sealContext(key, former.epoch, field, at)
      const owed = {
        id: endingOf(key, former.epoch, former.generation),
        key,
        grant: former.grant,
        accessToken: { sealed: former.credentials.accessToken, context: context("access_token", 2) },
        refreshToken: { sealed: former.credentials.refreshToken!, context: context("refresh_token", 2) },
        clientSecret: { sealed: former.clientSecret!, context: context("client_secret", 0) },
        attempts: 1
      }
      assert.deepStrictEqual((yield* take([{ key }])).map(view), [view(owed)])
      // Its end owes it to nobody else: the connection that took its place stays.
      yield* (yield* RevocationOutbox).settle(owed.id)
      assert.strictEqual(Option.getOrThrow(yield* connections.get(key)).generation, 3)

      const ended = Option.getOrThrow(yield* connections.get(key))
      yield* connections.disconnect(key, Fixture.newEpoch())
      assert.isTrue(yield* connections.deposit(key, { ...Fixture.newWrite(3), owesFormer: true }))
      assert.deepStrictEqual((yield* take([{ key }])).map(({ id }) => id), [endingOf(key, ended.epoch, 3)])
    }))

  it.effect("says how many entries there are", () =>
    Effect.gen(function*() {
      const outbox = yield* RevocationOutbox
      const before = yield* outbox.depth
      const entries = Array.from({ length: 3 }, newEntry)
      yield* Effect.forEach(entries, enqueue)
      assert.strictEqual(yield* outbox.depth, before + 3)
      yield* outbox.settle(entries[0]!.id)
      assert.strictEqual(yield* outbox.depth, before + 2)
    }))

  it.effect("gives no more than the limit, and nothing twice", () =>
    Effect.gen(function*() {
      const outbox = yield* RevocationOutbox
      yield* drain
      const entries = Array.from({ length: 5 }, newEntry)
      yield* Effect.forEach(entries, enqueue)
      const parts = yield* Effect.all(
        Array.from({ length: 4 }, () => outbox.take({ limit: 2, lease: Fixture.lease })),
        { concurrency: "unbounded" }
      )
      for (const part of parts) assert.isAtMost(part.length, 2)
      const rest = yield* outbox.take({ limit: 5, lease: Fixture.lease })
      const ids = [...parts.flat(), ...rest].map((one) => one.id)
      assert.deepStrictEqual(ids.sort(), entries.map((one) => one.id).sort())
    }))

  it.effect("makes an entry due again after the delay of a retry", () =>
    Effect.gen(function*() {
      const outbox = yield* RevocationOutbox
      const entry = newEntry()
      yield* enqueue(entry)
      yield* take([entry])
      yield* outbox.retry(entry.id, Duration.minutes(30))
      yield* options.advance(Duration.minutes(20))
      assert.deepStrictEqual(yield* take([entry]), [])
      yield* options.advance(Duration.minutes(11))
      assert.deepStrictEqual((yield* take([entry])).map((one) => one.attempts), [2])
      yield* outbox.retry(entry.id, Duration.zero)
      assert.deepStrictEqual((yield* take([entry])).map((one) => one.attempts), [3])
    }))

  it.effect("settles an entry together with the connection that is revoking", () =>
    Effect.gen(function*() {
      const connections = yield* ConnectionStore
      const outbox = yield* RevocationOutbox
      const key = Fixture.newKey()
      yield* connections.deposit(key, Fixture.newWrite(0))
      yield* connections.disconnect(key, Fixture.newEpoch())
      const [entry] = yield* take([{ key }])
      yield* outbox.settle(entry!.id)
      assert.isTrue(Option.isNone(yield* connections.get(key)))
      yield* options.advance(Fixture.pastLease)
      assert.deepStrictEqual(yield* take([{ key }]), [])
      yield* outbox.settle(entry!.id)
    }))

  it.effect("leaves an active connection alone when tokens that it never held are settled", () =>
    Effect.gen(function*() {
      const connections = yield* ConnectionStore
      const outbox = yield* RevocationOutbox
      const key = Fixture.newKey()
      yield* connections.deposit(key, Fixture.newWrite(0))
      const entry = newEntry(key)
      yield* enqueue(entry)
      yield* outbox.settle(entry.id)
      assert.strictEqual(Option.getOrThrow(yield* connections.get(key)).status._tag, "active")
      assert.deepStrictEqual(yield* take([entry]), [])
    }))

  it.effect("takes unknown ids calmly", () =>
    Effect.gen(function*() {
      const outbox = yield* RevocationOutbox
      const id = randomUUID()
      yield* outbox.retry(id, Duration.zero)
      yield* outbox.settle(id)
      const taken = yield* outbox.take({ limit: 1000, lease: Duration.zero })
      assert.isUndefined(taken.find((one) => one.id === id))
    }))
}

type Entry = Omit<Revocation, "attempts">

const newEntry = (key = Fixture.newKey()): Entry => {
  const epoch = Fixture.newEpoch()
  const secret = (field: Parameters<typeof sealContext>[2], generation: number): OutboxSecret => ({
    sealed: Fixture.newSealed(),
    context: sealContext(key, epoch, field, generation)
  })
  return {
    id: randomUUID(),
    key,
    grant: Fixture.newGrant(),
    accessToken: secret("access_token", 3),
    refreshToken: secret("refresh_token", 3),
    clientSecret: secret("client_secret", 0)
  }
}

const enqueue = (entry: Entry) => Effect.flatMap(RevocationOutbox, (outbox) => outbox.enqueue(entry))

// Entries of other cases may be due as well: takes them all and returns those of the given keys.
const take = (wanted: ReadonlyArray<Pick<Entry, "key">>) =>
  Effect.flatMap(
    RevocationOutbox,
    (outbox) =>
      Effect.map(outbox.take({ limit: 1000, lease: Fixture.lease }), (taken) =>
        taken.filter((one) => wanted.some(({ key }) => key.path === one.key.path)))
  )

const drain = Effect.flatMap(RevocationOutbox, (outbox) =>
  outbox.take({ limit: 1000, lease: Duration.days(1) }).pipe(
    Effect.tap(Effect.forEach((entry) => outbox.settle(entry.id))),
    Effect.repeat({ until: (taken) => taken.length === 0 })
  ))

const view = ({ accessToken, attempts, clientSecret, grant, id, key, refreshToken }: Revocation) => ({
  id,
  key: key.path,
  grant,
  attempts,
  secrets: [accessToken, refreshToken, clientSecret].map((secret) =>
    secret && { sealed: Fixture.hex(secret.sealed), context: secret.context }
  )
})
