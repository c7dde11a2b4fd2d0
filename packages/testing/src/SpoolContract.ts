import { assert, describe, it, type Vitest } from "@effect/vitest"
import { Spool, type SpoolEntry } from "@valetkey/domain/Spool"
import { Effect, type Layer, Option } from "effect"
import { randomUUID } from "node:crypto"
import * as Fixture from "./internal/contractFixtures.ts"

/** Runs the contract of `Spool` on a layer. */
export const suite = <R>(
  name: string,
  layer: Layer.Layer<Spool | R, unknown>,
  _options?: Fixture.ContractOptions<R>
): void => {
  describe(`Spool (${name})`, () => it.layer(layer, { timeout: "60 seconds" })((it) => cases(it)))
}

/** The cases of the contract, for a suite that shares its layer with others. */
export const cases = (it: Vitest.MethodsNonLive<Spool>): void => {
  it.effect("I3 lists what was appended, in order and whole", () =>
    Effect.gen(function*() {
      const spool = yield* Spool
      const entries = Array.from({ length: 5 }, newEntry)
      for (const entry of entries) yield* spool.append(entry)
      assert.deepStrictEqual(yield* listed(entries), entries.map(view))
    }))

  it.effect("keeps an entry without refresh token, scopes, expiry, grant and client secret", () =>
    Effect.gen(function*() {
      const spool = yield* Spool
      const { accessToken, issuedAt, tokenType } = Fixture.newCredentials()
      const entry = {
        ...newEntry(),
        credentials: { accessToken, issuedAt, tokenType },
        grant: undefined,
        clientSecret: undefined
      }
      yield* spool.append(entry)
      assert.deepStrictEqual(yield* listed([entry]), [view(entry)])
    }))

  it.effect("finds what waits for one generation in one life of one connection, and nothing else", () =>
    Effect.gen(function*() {
      const spool = yield* Spool
      const entry = newEntry()
      const { epoch, id, key, redeemed } = entry
      const later = { ...newEntry(), key, epoch, redeemed: Fixture.generation(8) }
      const others = [newEntry(), { ...newEntry(), key }, { ...newEntry(), epoch }, later]
      for (const one of [...others, entry]) yield* spool.append(one)
      const find = (one: Parameters<typeof spool.find>[0], input: Parameters<typeof spool.find>[1]) =>
        Effect.map(spool.find(one, input), (found) => Option.getOrUndefined(Option.map(found, view)))
      assert.deepStrictEqual(yield* find(key, { epoch, redeemed }), view(entry))
      assert.deepStrictEqual(yield* find(key, { epoch, redeemed: later.redeemed }), view(later))
      assert.isUndefined(yield* find(key, { epoch: Fixture.newEpoch(), redeemed }))
      assert.isUndefined(yield* find(Fixture.newKey(), { epoch, redeemed }))
      yield* spool.remove(id)
      assert.isUndefined(yield* find(key, { epoch, redeemed }))
    }))

  it.effect("removes one entry, and takes unknown ids calmly", () =>
    Effect.gen(function*() {
      const spool = yield* Spool
      const entries = Array.from({ length: 3 }, newEntry)
      for (const entry of entries) yield* spool.append(entry)
      yield* spool.remove(entries[1]!.id)
      yield* spool.remove(entries[1]!.id)
      yield* spool.remove(randomUUID())
      assert.deepStrictEqual(yield* listed(entries), [entries[0]!, entries[2]!].map(view))
    }))

  it.effect("keeps every one of twenty concurrent appends", () =>
    Effect.gen(function*() {
      const spool = yield* Spool
      const entries = Array.from({ length: 20 }, newEntry)
      yield* Effect.all(entries.map((entry) => spool.append(entry)), { concurrency: "unbounded" })
      assert.strictEqual((yield* listed(entries)).length, 20)
    }))
}

const newEntry = (): SpoolEntry => ({
  id: randomUUID(),
  key: Fixture.newKey(),
  epoch: Fixture.newEpoch(),
  redeemed: Fixture.generation(7),
  credentials: Fixture.newCredentials(),
  grant: Fixture.newGrant(),
  clientSecret: Fixture.newSealed()
})

// The spool belongs to every case: looks at the given entries alone.
const listed = (entries: ReadonlyArray<SpoolEntry>) =>
  Effect.flatMap(
    Spool,
    (spool) => Effect.map(spool.list, (all) => all.filter((one) => entries.some(({ id }) => id === one.id)).map(view))
  )

const view = ({ clientSecret, credentials, grant, key, ...rest }: SpoolEntry) => ({
  ...rest,
  key: key.path,
  grant,
  clientSecret: clientSecret && Fixture.hex(clientSecret),
  credentials: Fixture.credentialsView(credentials)
})
