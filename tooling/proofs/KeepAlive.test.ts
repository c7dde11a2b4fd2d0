import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { Renewer } from "@valetkey/domain/Renewer"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import { Clock, Context, Duration, Effect, Layer } from "effect"
import { postgres } from "./EveryStore.ts"
import * as Installation from "./Installation.ts"

/** A provider that lets a refresh token lie for thirty days, two replicas on a database, and a way to let days pass. */
const world = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const passed = { millis: 0 }
  const theirs: Clock.Clock = Object.assign(Object.create(clock), {
    currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + passed.millis
  })
  const provider = yield* FakeProvider.make({
    rotation: "rotate-revoke-family",
    refreshTokenIdleSeconds: 30 * 86_400
  }).pipe(Effect.provideService(Clock.Clock, theirs))
  const database = yield* EmbeddedPostgres.database
  const keys = Installation.freshKeys()
  const open = Layer.build(Layer.fresh(Installation.layer(postgres(database.url), keys)))
  const replicas = [yield* open, yield* open]
  const days = Effect.fnUntraced(function*(count: number) {
    passed.millis += Duration.toMillis(Duration.days(count))
    // What was written so many days ago stands there with older dates.
    const columns = ["issued_at", "expires_at", "refresh_expires_at", "granted_at", "renew_at"]
    const earlier = columns.map((column) => `${column} = ${column} - interval '${count} days'`)
    yield* EmbeddedPostgres.statement(database.url, `UPDATE connections SET ${earlier.join(", ")}`)
  })
  /** Both replicas look at the same time. */
  const look = Effect.map(
    Effect.forEach(replicas, (one) => Context.get(one, Renewer).round(Duration.zero), { concurrency: 2 }),
    (rounds) => rounds.map(({ renewed }) => renewed).sort()
  )
  const of = Effect.fnUntraced(function*(key: ConnectionKey) {
    return yield* Context.get(replicas[0]!, Connections).get(key)
  })
  return { provider, replicas, days, look, of }
})

describe("a refresh token that idles out at its provider", () => {
  it.live(
    "REF-21 is kept alive by one of two replicas, once each time, and is lost without them",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { days, look, of, provider, replicas } = yield* world
        const key = yield* Effect.gen(function*() {
          const key = yield* Installation.describe(provider.resource)
          const flow = yield* Installation.connect(key)
          assert.strictEqual(flow.state, "completed")
          return key
        }).pipe(Effect.provideContext(replicas[0]!))
        yield* days(1)
        assert.deepStrictEqual(yield* look, [0, 0])
        for (let round = 1; round <= 4; round++) {
          yield* days(25)
          assert.deepStrictEqual(yield* look, [0, 1])
          assert.strictEqual(Number((yield* of(key)).generation), round + 1)
          // Nothing more happens before the next time.
          yield* days(1)
          assert.deepStrictEqual(yield* look, [0, 0])
        }
        const family = provider.families[0]!
        assert.deepStrictEqual([family.refreshTokens.length, family.revoked], [5, false])
        assert.strictEqual(provider.maxTokenCount(), 1)

        // After three times as long as the provider lets one lie it is as good as new; left alone it is not.
        const tokens = Context.get(replicas[1]!, AccessTokens)
        assert.strictEqual(Number((yield* tokens.get(key)).generation), 6)
        yield* days(31)
        const error = yield* Effect.flip(tokens.get(key))
        assert.deepInclude(error, { code: "reauthorization_required", reason: "refresh_token_idled_out" })
        assert.deepStrictEqual((yield* of(key)).status, { _tag: "needs_reauth", reason: "refresh_token_idled_out" })
      })),
    120_000
  )
})
