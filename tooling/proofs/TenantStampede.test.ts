import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Context, Effect, Layer, Redacted } from "effect"
import { type Store, stores } from "./EveryStore.ts"
import * as Installation from "./Installation.ts"
import * as Rendezvous from "./Rendezvous.ts"

const callers = 1000

/** Lets the callers of two tenants, who are the same subject of the same server, ask in turn for an expired token. */
const stampede = Effect.fnUntraced(function*(store: Store, replicas: number) {
  const provider = yield* FakeProvider.make({ rotation: "rotate-revoke-family" })
  const everybody = Rendezvous.make(callers)
  provider.always("token", Reply.before(everybody.met))
  const keys = Installation.freshKeys()
  const open = Layer.build(
    Installation.layer(everybody.layer.pipe(Layer.provideMerge(store())), keys).pipe(Layer.fresh)
  )
  const installations = yield* Effect.all(Array.from({ length: replicas }, () => open))
  const tenants = yield* Effect.forEach(
    ["acme", "rival"],
    (tenant) => Installation.depositExpired(provider, tenant).pipe(Effect.provideContext(installations[0]!))
  )
  assert.deepStrictEqual(
    tenants.map(({ key }) => [key.subject, key.server]),
    tenants.map(() => [tenants[0]!.key.subject, tenants[0]!.key.server])
  )

  const answers = yield* Effect.all(
    Array.from({ length: callers }, (_, caller) => {
      const { key, refreshToken } = tenants[caller % 2]!
      const tokens = Context.get(installations[(caller >> 1) % replicas]!, AccessTokens)
      return Effect.map(tokens.get(key), ({ accessToken }) => ({ refreshToken, token: Redacted.value(accessToken) }))
    }),
    { concurrency: "unbounded" }
  )

  assert.strictEqual(answers.length, callers)
  for (const { refreshToken } of tenants) {
    const own = provider.families.find(({ refreshTokens }) => refreshTokens[0] === Redacted.value(refreshToken))
    if (own === undefined) return yield* Effect.die("a deposit has a family of its own")
    // The first one is the expired one of the deposit, the second one that of the only refresh.
    assert.strictEqual(own.accessTokens.length, 2)
    const theirs = answers.filter((answer) => answer.refreshToken === refreshToken).map(({ token }) => token)
    assert.strictEqual(theirs.length, callers / 2)
    assert.deepStrictEqual([...new Set(theirs)], [own.accessTokens[1]])
    assert.strictEqual(provider.tokenCount(refreshToken), 1)
    assert.isFalse(own.revoked)
  }
  assert.strictEqual(provider.requests("token").length, 2)
})

describe(`${callers} callers of one name in two tenants`, () => {
  for (const [name, store] of Object.entries(stores)) {
    it.live(
      `BIND-10 each get their own tenant's token, from one redemption for each on ${name}`,
      () => Effect.flatMap(store, (store) => stampede(store, 1)),
      60_000
    )
  }

  it.live(
    "BIND-10 each get their own tenant's token on two replicas that share one PostgreSQL",
    () => Effect.flatMap(stores.PostgreSQL, (store) => stampede(store, 2)),
    60_000
  )
})
