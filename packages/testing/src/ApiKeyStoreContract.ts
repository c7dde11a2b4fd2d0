import { assert, type Vitest } from "@effect/vitest"
import { type ApiKey, ApiKeyId } from "@valetkey/domain/ApiKey"
import { ApiKeyStore } from "@valetkey/domain/ApiKeyStore"
import { Digest } from "@valetkey/domain/Entropy"
import { SubjectId } from "@valetkey/domain/Subject"
import type { TenantId } from "@valetkey/domain/Tenant"
import { DateTime, Duration, Effect, Option } from "effect"
import { randomBytes } from "node:crypto"
import * as Fixture from "./internal/contractFixtures.ts"

/** The cases of the contract of `ApiKeyStore`, for a suite that shares its layer with others. */
export const cases = <R>(it: Vitest.MethodsNonLive<ApiKeyStore | R>, options: Fixture.ContractOptions<R>): void => {
  it.effect("API-12 finds a key by its id alone, with the digest and never a secret", () =>
    Effect.gen(function*() {
      const { digest, key } = yield* make(Fixture.newTenant())
      const found = Option.getOrThrow(yield* store(({ findLive }) => findLive(key.id)))
      assert.deepStrictEqual(found, { key, digest })
      assert.deepStrictEqual([key.name, key.scopes, key.revokedAt, key.lastUsedAt], [
        "nightly job é",
        ["tokens:read", "admin"],
        undefined,
        undefined
      ])
      assert.strictEqual(Duration.toMillis(DateTime.distance(key.createdAt, key.expiresAt)), 600_000)
      assert.isTrue(Option.isNone(yield* store(({ findLive }) => findLive(newId()))))
    }))

  it.effect("API-12 finds no key that was revoked, and none that has expired", () =>
    Effect.gen(function*() {
      const tenant = Fixture.newTenant()
      const revoked = (yield* make(tenant)).key
      const short = (yield* make(tenant)).key
      assert.isTrue(yield* store(({ revoke }) => revoke(tenant, revoked.id)))
      assert.isTrue(Option.isNone(yield* store(({ findLive }) => findLive(revoked.id))))
      assert.isTrue(Option.isSome(yield* store(({ findLive }) => findLive(short.id))))
      yield* options.advance(Duration.minutes(11))
      assert.isTrue(Option.isNone(yield* store(({ findLive }) => findLive(short.id))))
      const listed = yield* store(({ list }) => list({ tenant, after: undefined, limit: 10 }))
      const ended = listed.filter(({ revokedAt }) => revokedAt !== undefined).map(({ id }) => id)
      assert.deepStrictEqual(ended, [revoked.id])
      assert.lengthOf(listed, 2)
    }))

  it.effect("revokes once and for good: a second time changes nothing", () =>
    Effect.gen(function*() {
      const { key } = yield* make(Fixture.newTenant())
      const revokedAt = Effect.map(
        store(({ list }) => list({ tenant: key.tenant, after: undefined, limit: 1 })),
        ([one]) => DateTime.toEpochMillis(one!.revokedAt!)
      )
      assert.isTrue(yield* store(({ revoke }) => revoke(key.tenant, key.id)))
      const first = yield* revokedAt
      assert.isTrue(yield* store(({ revoke }) => revoke(key.tenant, key.id)))
      assert.strictEqual(yield* revokedAt, first)
    }))

  it.effect("I10 API-02 lists and revokes nothing of another tenant", () =>
    Effect.gen(function*() {
      const { key } = yield* make(Fixture.newTenant())
      const rival = Fixture.newTenant()
      assert.isFalse(yield* store(({ revoke }) => revoke(rival, key.id)))
      assert.deepStrictEqual(yield* store(({ list }) => list({ tenant: rival, after: undefined, limit: 10 })), [])
      assert.isTrue(Option.isSome(yield* store(({ findLive }) => findLive(key.id))))
    }))

  it.effect("lists keys in the order of their ids, page after page", () =>
    Effect.gen(function*() {
      const tenant = Fixture.newTenant()
      const ids = (yield* Effect.forEach([1, 2, 3, 4, 5], () => make(tenant))).map(({ key }) => key.id).toSorted()
      const page = (after: ApiKeyId | undefined, limit: number) =>
        Effect.map(store(({ list }) => list({ tenant, after, limit })), (found) => found.map(({ id }) => id))
      assert.deepStrictEqual(yield* page(undefined, 10), ids)
      assert.deepStrictEqual(yield* page(undefined, 2), ids.slice(0, 2))
      assert.deepStrictEqual(yield* page(ids[1], 2), ids.slice(2, 4))
      assert.deepStrictEqual(yield* page(ids[4], 2), [])
    }))

  it.effect("records use coarsely: a second time within the coarseness writes nothing", () =>
    Effect.gen(function*() {
      const { key: { id, tenant } } = yield* make(Fixture.newTenant())
      const touch = store(({ touch }) => touch(tenant, id, Duration.minutes(1)))
      const lastUsed = Effect.map(
        store(({ list }) => list({ tenant, after: undefined, limit: 1 })),
        ([one]) => one!.lastUsedAt && DateTime.toEpochMillis(one!.lastUsedAt)
      )
      assert.isUndefined(yield* lastUsed)
      yield* store(({ touch }) => touch(Fixture.newTenant(), id, Duration.zero))
      assert.isUndefined(yield* lastUsed)
      yield* touch
      const first = yield* lastUsed
      assert.isDefined(first)
      yield* touch
      assert.strictEqual(yield* lastUsed, first)
      yield* store(({ touch }) => touch(tenant, id, Duration.zero))
      assert.isAtLeast((yield* lastUsed)!, first!)
      yield* options.advance(Duration.minutes(2))
      yield* touch
      assert.isDefined(yield* lastUsed)
    }))
}

const store = <A, E>(
  use: (store: ApiKeyStore["Service"]) => Effect.Effect<A, E>
): Effect.Effect<A, E, ApiKeyStore> => Effect.flatMap(ApiKeyStore, use)

const newId = (): ApiKeyId => ApiKeyId.make(`vk_${randomBytes(16).toString("hex")}`)

const make = Effect.fnUntraced(function*(tenant: TenantId) {
  const digest = Digest.make(randomBytes(32).toString("base64url"))
  const draft = {
    id: newId(),
    tenant,
    subject: SubjectId.make("ada"),
    name: "nightly job é",
    scopes: ["tokens:read", "admin"]
  }
  const key: ApiKey = yield* store(({ create }) => create(draft, { digest, lifetime: Duration.minutes(10) }))
  return { digest, key }
})
