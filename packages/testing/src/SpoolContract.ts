import { assert, describe, it, type Vitest } from "@effect/vitest"
import { Spool, type SpoolEntry } from "@valetkey/domain/Spool"
import { Effect, type Layer } from "effect"
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
