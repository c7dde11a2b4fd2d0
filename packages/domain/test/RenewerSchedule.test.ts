import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { Renewer } from "@valetkey/domain/Renewer"
import { Servers } from "@valetkey/domain/Servers"
import { Clock, Duration, Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, layerWith, Provider } from "./World.ts"

const ahead = Duration.minutes(5)
const layer = layerWith({ ahead }, { window: "400 days" })

const running = Layer.provide(Renewer.layerSchedule(), Layer.fresh(Renewer.layer({ ahead })))

/** A clock that a machine's sleep puts forward, without that anybody who waits is woken. */
const sleepy = Effect.map(Clock.Clock, (clock) => {
  const slept = { millis: 0 }
  const own: Clock.Clock = Object.assign(Object.create(clock), {
    currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + slept.millis,
    currentTimeMillis: Effect.sync(() => clock.currentTimeMillisUnsafe() + slept.millis)
  })
  return { own, slept }
})

/** When refresh tokens were redeemed, in milliseconds. */
const watched = Effect.gen(function*() {
  const provider = yield* Provider
  const at: Array<number> = []
  provider.refresh = (issue) =>
    Effect.andThen(
      Effect.map(Clock.currentTimeMillis, (now) => void at.push(now)),
      issue
    )
  return at
})

const connected = Effect.fnUntraced(function*(count: number) {
  for (let index = 0; index < count; index++) {
    const key = yield* keyOf(`mcp-${index}`)
    yield* (yield* Servers).put(key.tenant, key.server, {
      resource: "https://mcp.example/mcp",
      quirks: {},
      refreshAhead: "always"
    })
    yield* connect(key)
  }
})

const minutes = (count: number) =>
  Effect.forEach(Array.from({ length: count * 6 }), () =>
    Effect.andThen(
      TestClock.adjust("10 seconds"),
      Effect.forEach(Array.from({ length: 20 }), () => Effect.yieldNow, { discard: true })
    ), { discard: true })

describe("the schedule of renewals", () => {
  it.effect("REF-21 renews each connection in its own window, hour after hour", () =>
    Effect.gen(function*() {
      const at = yield* watched
      yield* connected(20)
      yield* Layer.build(running)
      yield* minutes(180)
      assert.isAtLeast(at.length, 60)
      assert.isAtMost(at.length, 64)
      const first = at.slice(0, 20)
      assert.isAtLeast(Math.min(...first), 55 * 60_000)
      assert.isAtMost(Math.max(...first), 58 * 60_000)
      assert.isAtLeast(new Set(first.map((millis) => Math.floor(millis / 10_000))).size, 8)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("TIME-04 REF-21 waits a moment after the machine slept, and draws out what is overdue", () =>
    Effect.gen(function*() {
      const { own, slept } = yield* sleepy
      yield* Effect.gen(function*() {
        const at = yield* watched
        yield* connected(40)
        yield* Layer.build(running)
        yield* minutes(10)
        assert.deepStrictEqual(at, [])
        slept.millis = 10 * 3_600_000
        const woken = yield* Clock.currentTimeMillis
        yield* minutes(2)
        assert.isAtLeast(Math.min(...at) - woken, 10_000)
        // Thirty-two of a round, one every other second, and nobody before his turn.
        for (let from = woken; from < woken + 120_000; from += 10_000) {
          assert.isAtMost(at.filter((millis) => millis >= from && millis < from + 10_000).length, 7)
        }
        yield* minutes(3)
        assert.strictEqual(at.length, 40)
        // Who asks meanwhile is not kept waiting.
        const key = yield* keyOf("mcp-0")
        assert.isAtLeast(Number((yield* (yield* AccessTokens).get(key)).generation), 2)
      }).pipe(Effect.provide(layer), Effect.provideService(Clock.Clock, own))
    }).pipe(Effect.scoped))
})
