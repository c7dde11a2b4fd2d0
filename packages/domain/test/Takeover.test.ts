import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { Connections } from "@valetkey/domain/Connections"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { Context, Effect, Fiber, Layer, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, layer, Provider } from "./World.ts"

/** An expired connection, two replicas on its store, and how often its refresh tokens arrived. */
const replicas = Effect.gen(function*() {
  const key = yield* keyOf("mcp")
  yield* connect(key)
  yield* TestClock.adjust("2 hours")
  const provider = yield* Provider
  const other = Layer.build(Layer.fresh(AccessTokens.layer()))
  return {
    key,
    owner: yield* AccessTokens,
    other: Context.get(yield* other, AccessTokens),
    store: yield* ConnectionStore,
    points: yield* InjectionPoints,
    redemptions: () =>
      [...provider.redemptions].filter(([token]) => token.includes("refresh")).map(([, count]) => count)
  }
})

describe("a claim whose owner stands still", () => {
  it.effect("REF-23 I21 is taken over within a second when nothing was sent, and the owner sends nothing later", () =>
    Effect.gen(function*() {
      const { key, other, owner, points, redemptions } = yield* replicas
      yield* points.pause("refresh.claimed", { times: 1 })
      const first = yield* Effect.forkChild(owner.get(key), { startImmediately: true })
      yield* points.awaitReached("refresh.claimed")
      const second = yield* Effect.forkChild(other.get(key), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      const exit = second.pollUnsafe()
      assert.isDefined(exit, "nobody took over within a second")
      const token = yield* exit!
      yield* points.release("refresh.claimed")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(Redacted.value((yield* Fiber.join(first)).accessToken), Redacted.value(token.accessToken))
      assert.deepStrictEqual(redemptions(), [1])
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("I1 is not taken over before the lease ends when the request may have left", () =>
    Effect.gen(function*() {
      const { key, other, owner, points, redemptions } = yield* replicas
      yield* points.pause("refresh.sent", { times: 1 })
      yield* Effect.forkChild(owner.get(key), { startImmediately: true })
      yield* points.awaitReached("refresh.sent")
      const second = yield* Effect.forkChild(other.get(key), { startImmediately: true })
      yield* TestClock.adjust("58 seconds")
      assert.isUndefined(second.pollUnsafe())
      assert.deepStrictEqual(redemptions(), [])
      yield* TestClock.adjust("4 seconds")
      yield* Fiber.join(second)
      assert.deepStrictEqual(redemptions(), [1])
      yield* points.release("refresh.sent")
    }).pipe(Effect.scoped, Effect.provide(layer)))
})

describe("a store that is slower than a claim", () => {
  it.effect("I7 lets somebody send all the same: who is overtaken claims for longer", () =>
    Effect.gen(function*() {
      const { key, other, owner, redemptions, store } = yield* replicas
      const real = { ...store }
      Object.assign(store, {
        markSent: (...args: Parameters<typeof real.markSent>) => Effect.delay(real.markSent(...args), "1 second")
      })
      const both = yield* Effect.forkChild(
        Effect.all([owner.get(key), other.get(key)], { concurrency: "unbounded" }),
        { startImmediately: true }
      )
      yield* TestClock.adjust("10 seconds")
      const [one, two] = yield* both.pollUnsafe() ?? Effect.die("nobody got to send")
      assert.strictEqual(one.generation, two.generation)
      assert.deepStrictEqual(redemptions(), [1])
      assert.strictEqual(Option.getOrThrow(yield* store.get(key)).generation, 2)
    }).pipe(Effect.scoped, Effect.provide(layer)))
})

describe("a refresh that ends long after it stored its result", () => {
  it.effect("I20 I6 gives no older token to a caller who joined it and had seen a newer one refused", () =>
    Effect.gen(function*() {
      const { key, other, owner, points, redemptions } = yield* replicas
      yield* points.pause("refresh.after_commit", { times: 1 })
      const slow = yield* Effect.forkChild(owner.get(key), { startImmediately: true })
      yield* points.awaitReached("refresh.after_commit")
      const { accessToken: second } = yield* other.get(key)
      const { accessToken: third } = yield* other.get(key, { rejected: second })
      // So long that the brake on forced refreshes lets the next one pass.
      yield* TestClock.adjust("1 minute")
      const joined = yield* Effect.forkChild(owner.get(key, { rejected: third }), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      yield* points.release("refresh.after_commit")
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(slow)).generation, 2)
      assert.strictEqual((yield* Fiber.join(joined)).generation, 4)
      assert.deepStrictEqual(redemptions(), [1, 1, 1])
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("I6 refreshes once more for who waited for a token that was over when it was stored", () =>
    Effect.gen(function*() {
      const { key, owner, points, redemptions } = yield* replicas
      const provider = yield* Provider
      provider.lifetime = 30
      yield* points.pause("refresh.after_commit", { times: 1 })
      const first = yield* Effect.forkChild(owner.get(key), { startImmediately: true })
      yield* points.awaitReached("refresh.after_commit")
      yield* TestClock.adjust("40 seconds")
      const joined = yield* Effect.forkChild(owner.get(key), { startImmediately: true })
      yield* points.release("refresh.after_commit")
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(first)).generation, 3)
      assert.strictEqual((yield* Fiber.join(joined)).generation, 3)
      assert.deepStrictEqual(redemptions(), [1, 1])
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("hands out what is over when refreshes take longer than tokens live, instead of refreshing for ever", () =>
    Effect.gen(function*() {
      const { key, owner, redemptions } = yield* replicas
      const provider = yield* Provider
      provider.lifetime = 1
      provider.refresh = (issue) => Effect.tap(issue, Effect.sleep("2 seconds"))
      const asked = yield* Effect.forkChild(owner.get(key), { startImmediately: true })
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual((yield* Fiber.join(asked)).generation, 3)
      assert.deepStrictEqual(redemptions(), [1, 1])
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("I4 I23 gives nothing of a former life to a caller of the next one", () =>
    Effect.gen(function*() {
      const { key, owner, points, store } = yield* replicas
      const connections = yield* Connections
      yield* points.pause("refresh.after_commit", { times: 1 })
      const former = yield* Effect.forkChild(owner.get(key), { startImmediately: true })
      yield* points.awaitReached("refresh.after_commit")
      // Forgotten, so that generations begin anew, below those of the former life.
      const { generation } = Option.getOrThrow(yield* store.get(key))
      yield* connections.forget(key, generation)
      yield* connect(key)
      const { accessToken: fresh } = yield* owner.get(key)
      const later = yield* Effect.forkChild(owner.get(key, { rejected: fresh }), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      yield* points.release("refresh.after_commit")
      yield* TestClock.adjust("1 second")
      const ended = yield* Fiber.join(former)
      const next = yield* Fiber.join(later)
      assert.notStrictEqual(Redacted.value(next.accessToken), Redacted.value(ended.accessToken))
      assert.strictEqual(next.generation, 2)
    }).pipe(Effect.scoped, Effect.provide(layer)))
})
