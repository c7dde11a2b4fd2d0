import { assert, describe, it } from "@effect/vitest"
import { RedemptionError } from "@valetkey/domain/AuthorizationServer"
import { Flows, flowTtl } from "@valetkey/domain/Flows"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { flowTopic, Signals } from "@valetkey/domain/Signals"
import { StoreError } from "@valetkey/domain/StoreError"
import * as Canary from "@valetkey/testing/Canary"
import { LogRecorder } from "@valetkey/testing/LogRecorder"
import {
  Cause,
  Clock,
  Context,
  DateTime,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  Latch,
  Layer,
  Option,
  Redacted
} from "effect"
import { TestClock } from "effect/testing"
import { getEventListeners } from "node:events"
import { begin, Browser, comeBack, keyOf, layer, Provider, refuse, response } from "./World.ts"

/** Runs on a clock that counts who sleeps on it. */
const counted = <A, E, R>(use: (sleeping: () => number) => Effect.Effect<A, E, R>) =>
  Effect.flatMap(Clock.Clock, (clock) => {
    let sleepers = 0
    const sleep = (duration: Duration.Duration) =>
      Effect.acquireUseRelease(
        Effect.sync(() => void sleepers++),
        () => clock.sleep(duration),
        () => Effect.sync(() => void sleepers--)
      )
    const counting: Clock.Clock = Object.assign(Object.create(clock), { sleep })
    return Effect.provideService(use(() => sleepers), Clock.Clock, counting)
  })

describe("a flow", () => {
  it.effect("S4.9 is found by a callback that knows its state alone, whoever's it is", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const begun = yield* Effect.forEach(["acme", "globex"], (tenant) =>
        Effect.gen(function*() {
          const key = yield* keyOf("mcp", { tenant })
          const started = yield* flows.start(key)
          return started._tag === "Started" ? { key, started } : yield* Effect.die(started._tag)
        }))
      const [, { key, started }] = begun as [typeof begun[0], typeof begun[0]]
      yield* Effect.flatMap(
        comeBack(started.flow.id, response(started.authorizationUrl)),
        ({ settled }) => settled
      )
      assert.strictEqual(Option.getOrThrow(yield* flows.latest(key)).state, "completed")
      assert.strictEqual(Option.getOrThrow(yield* flows.latest(begun[0]!.key)).state, "pending")
    }).pipe(Effect.provide(layer)))

  it.effect("S4.10 is named by a random UUID, ends by itself, and shows nothing that is secret", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const [one, two] = [yield* begin("one"), yield* begin("two")]
      assert.notStrictEqual(one.flow.id, two.flow.id)
      for (const { authorizationUrl, flow, owner } of [one, two]) {
        assert.match(flow.id, /^[0-9a-f]{8}-[0-9a-f]{4}-[47][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
        const pending = yield* flows.status(owner)
        assert.isTrue(DateTime.isGreaterThan(pending.expiresAt, pending.createdAt))
        const { settled } = yield* comeBack(flow.id, response(authorizationUrl))
        const shown = JSON.stringify([pending, yield* settled])
        const provider = yield* Provider
        const state = new URL(Redacted.value(authorizationUrl)).searchParams.get("state")!
        for (const secret of [state, ...provider.verifiers, ...provider.issued, ...provider.redemptions.keys()]) {
          assert.notInclude(shown, secret)
        }
      }
    }).pipe(Effect.provide(layer)))

  it.effect("S4.11 is named in the log when it fails, and no token is", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const body = Canary.make("refresh_token")
      provider.exchange = () =>
        Effect.fail(new RedemptionError({ reason: { _tag: "Terminal", error: "invalid_grant" }, cause: { body } }))
      const { authorizationUrl, flow } = yield* begin("mcp")
      yield* Effect.flatMap(comeBack(flow.id, response(authorizationUrl)), ({ settled }) => settled)
      const lines = (yield* (yield* LogRecorder).lines).join("\n")
      assert.include(lines, flow.id)
      for (const secret of [Redacted.value(body), ...provider.redemptions.keys()]) assert.notInclude(lines, secret)
    }).pipe(Effect.provide(layer), Effect.provide(LogRecorder.layer)))

  it.live("S4.7 is cleaned up with its layer: no signal is listened to and no timer is left", () =>
    counted((sleeping) =>
      Effect.gen(function*() {
        const signals = ["SIGTERM", "SIGINT", "SIGHUP", "exit", "beforeExit"]
        const count = () => signals.map((name) => process.listenerCount(name))
        const before = count()
        const browser = yield* Effect.scoped(Effect.gen(function*() {
          const context = yield* Layer.build(Layer.fresh(layer))
          yield* Effect.provideContext(
            Effect.gen(function*() {
              const flows = yield* Flows
              for (const slug of ["one", "two", "three"]) {
                const { owner } = yield* begin(slug)
                yield* Effect.forkScoped(flows.wait(owner, "1 hour"), { startImmediately: true })
              }
            }),
            context
          )
          assert.isAtLeast(sleeping(), 1)
          assert.deepStrictEqual(count(), before)
          return Context.get(context, Browser)
        }))
        assert.deepStrictEqual([browser.open.size, sleeping()], [0, 0])
        assert.deepStrictEqual(count(), before)
      })
    ))
})

describe("who waits for a flow", () => {
  it.effect("S4.2 S4.30 hears that it expired at the deadline that the person was given, by the clock", () =>
    Effect.gen(function*() {
      const { flow, owner } = yield* begin("mcp")
      assert.strictEqual(
        Duration.toMillis(DateTime.distance(flow.createdAt, flow.expiresAt)),
        Duration.toMillis(flowTtl)
      )
      const waiter = yield* Effect.forkChild((yield* Flows).wait(owner, Duration.infinity), { startImmediately: true })
      yield* TestClock.adjust(Duration.subtract(flowTtl, Duration.seconds(1)))
      assert.isUndefined(waiter.pollUnsafe())
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(waiter)).state, "expired")
    }).pipe(Effect.provide(layer)))

  it.effect("S4.19 learns within two seconds of a flow whose signal was lost", () =>
    Effect.gen(function*() {
      const { owner } = yield* begin("mcp")
      const waiter = yield* Effect.forkChild((yield* Flows).wait(owner, "1 minute"), { startImmediately: true })
      yield* TestClock.adjust("30 seconds")
      yield* (yield* FlowStore).cancel(owner)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(waiter)).state, "cancelled")
    }).pipe(Effect.provide(layer)))

  it.effect("S4x.2 S4.20 leaves at once, and neither the flow nor another waiter feels it", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const { authorizationUrl, flow, owner } = yield* begin("mcp")
      const leaves = yield* Effect.forkChild(flows.wait(owner, "1 minute"), { startImmediately: true })
      const stays = yield* Effect.forkChild(flows.wait(owner, "1 minute"), { startImmediately: true })
      const before = yield* Clock.currentTimeMillis
      yield* Fiber.interrupt(leaves)
      assert.strictEqual(yield* Clock.currentTimeMillis, before)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(leaves)))
      assert.strictEqual((yield* flows.status(owner)).state, "pending")
      yield* comeBack(flow.id, response(authorizationUrl))
      assert.strictEqual((yield* Fiber.join(stays)).state, "completed")
    }).pipe(Effect.provide(layer)))

  it.live("S4.22 ends at once and sets no timer when it was aborted before", () =>
    counted((sleeping) =>
      Effect.gen(function*() {
        const { owner } = yield* begin("mcp")
        const context = yield* Effect.context<Flows>()
        const before = sleeping()
        const wait = Effect.flatMap(Flows, (flows) => flows.wait(owner, "1 minute"))
        const signal = AbortSignal.abort()
        const exit = yield* Effect.promise(() => Effect.runPromiseExitWith(context)(wait, { signal }))
        assert.isTrue(Exit.hasInterrupts(exit))
        assert.strictEqual(sleeping(), before)
      }).pipe(Effect.provide(layer))
    ))

  it.live("S4.23 S4.32 leaves no listener and no timer behind, after a hundred flows", () =>
    counted((sleeping) =>
      Effect.gen(function*() {
        const flows = yield* Flows
        const context = yield* Effect.context<Flows>()
        const aborts = new AbortController()
        for (let run = 0; run < 100; run++) {
          const { owner } = yield* begin("mcp")
          const waiting = Effect.runPromiseWith(context)(flows.wait(owner, "1 minute"), { signal: aborts.signal })
          yield* flows.cancel(owner)
          assert.strictEqual((yield* Effect.promise(() => waiting)).state, "cancelled")
        }
        assert.strictEqual(getEventListeners(aborts.signal, "abort").length, 0)
        // One may be the audit trail's, which gathers what it writes next.
        assert.isAtMost(sleeping(), 1)
      }).pipe(Effect.provide(layer))
    ))

  it.effect("S4.25 is told that there is no such flow, and what that may mean", () =>
    Effect.gen(function*() {
      const { owner } = yield* begin("mcp")
      const stranger = { ...owner, id: (yield* begin("other")).owner.id.replace(/^./, "f") as typeof owner.id }
      const missing = yield* Effect.flip((yield* Flows).wait(stranger, "1 minute"))
      assert.strictEqual(missing._tag, "FlowNotFound")
      for (const cause of ["never started", "expired", "another user or instance"]) {
        assert.include(missing.message, cause)
      }
    }).pipe(Effect.provide(layer)))

  it.effect("S4.26 has one read of its own at a time, however slow the store and however many signals come", () =>
    Effect.gen(function*() {
      const store = yield* FlowStore
      const { owner } = yield* begin("mcp")
      const { getAll } = store
      const [reading, gate] = [yield* Latch.make(), yield* Deferred.make<void>()]
      let [now, most] = [0, 0]
      Object.assign(store, {
        getAll: (input: Parameters<typeof getAll>[0]) =>
          Effect.acquireUseRelease(
            Effect.sync(() => {
              most = Math.max(most, ++now)
            }),
            () => Effect.andThen(reading.open, Effect.andThen(Deferred.await(gate), getAll(input))),
            () => Effect.sync(() => now--)
          )
      })
      const waiter = yield* Effect.forkChild((yield* Flows).wait(owner, "1 minute"), { startImmediately: true })
      yield* reading.await
      for (let tick = 0; tick < 20; tick++) {
        yield* (yield* Signals).notify(flowTopic(owner.id))
        yield* TestClock.adjust("1 second")
      }
      Object.assign(store, { getAll })
      yield* store.cancel(owner)
      yield* Deferred.succeed(gate, undefined)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(waiter)).state, "cancelled")
      assert.strictEqual(most, 1)
    }).pipe(Effect.provide(layer)))

  it.effect("S4.28 S4x.1 gets the completed flow, also when the provider said next to nothing", () =>
    Effect.gen(function*() {
      ;(yield* Provider).answer = ({ accessToken, issuedAt, tokenType }) => ({ accessToken, issuedAt, tokenType })
      const { authorizationUrl, flow, owner } = yield* begin("mcp")
      const waiter = yield* Effect.forkChild((yield* Flows).wait(owner, "1 minute"), { startImmediately: true })
      yield* comeBack(flow.id, response(authorizationUrl))
      const seen = yield* Fiber.join(waiter)
      assert.deepStrictEqual([seen.id, seen.state, seen.failure], [flow.id, "completed", undefined])
    }).pipe(Effect.provide(layer)))

  it.effect("S4.29 S4.41 S4x.3 learns why it failed and when, and so does who asks after it", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      ;(yield* Provider).exchange = () => refuse({ _tag: "Terminal", error: "invalid_grant" })
      const { authorizationUrl, flow, owner } = yield* begin("mcp")
      const waiters = yield* Effect.forEach(
        [1, 2, 3],
        () => Effect.forkChild(flows.wait(owner, "1 minute"), { startImmediately: true })
      )
      yield* TestClock.adjust("3 seconds")
      yield* comeBack(flow.id, response(authorizationUrl))
      for (const waiter of waiters) {
        const seen = yield* Fiber.join(waiter)
        assert.deepStrictEqual([seen.state, seen.failure], ["failed", "code_rejected"])
        assert.strictEqual(DateTime.toEpochMillis(seen.settledAt!), yield* Clock.currentTimeMillis)
      }
      assert.strictEqual((yield* flows.wait(owner, "1 minute")).failure, "code_rejected")
    }).pipe(Effect.provide(layer)))

  it.effect("S4.31 is told of a store that stays away while it waits, and the flow goes on", () =>
    Effect.gen(function*() {
      const [flows, store] = [yield* Flows, yield* FlowStore]
      const { authorizationUrl, flow, owner } = yield* begin("mcp")
      const waiter = yield* Effect.forkChild(flows.wait(owner, "1 minute"), { startImmediately: true })
      yield* TestClock.adjust("3 seconds")
      const { ended, getAll } = store
      const outage = new StoreError({ code: "store_unavailable", operation: "flows.get" })
      Object.assign(store, { ended: () => Effect.fail(outage), getAll: () => Effect.fail(outage) })
      yield* TestClock.adjust("4 seconds")
      assert.isUndefined(waiter.pollUnsafe())
      yield* TestClock.adjust("4 seconds")
      const exit = yield* Fiber.await(waiter)
      Object.assign(store, { ended, getAll })
      assert.deepStrictEqual(exit._tag === "Failure" ? Cause.squash(exit.cause) : exit.value, outage)
      yield* comeBack(flow.id, response(authorizationUrl))
      assert.strictEqual((yield* flows.wait(owner, "1 minute")).state, "completed")
    }).pipe(Effect.provide(layer)))

  it.effect("S4.31 hears nothing of a store that is away for a moment, again and again, and learns what ended meanwhile", () =>
    Effect.gen(function*() {
      const [flows, store] = [yield* Flows, yield* FlowStore]
      const { owner } = yield* begin("mcp")
      const { ended } = store
      const outage = new StoreError({ code: "store_unavailable", operation: "flows.ended" })
      const waiter = yield* Effect.forkChild(flows.wait(owner, "5 minutes"), { startImmediately: true })
      for (let blip = 0; blip < 5; blip++) {
        Object.assign(store, { ended: () => Effect.fail(outage) })
        yield* TestClock.adjust("4 seconds")
        if (blip === 4) yield* store.cancel(owner)
        Object.assign(store, { ended })
        assert.isUndefined(waiter.pollUnsafe())
        yield* TestClock.adjust("2 seconds")
      }
      assert.strictEqual((yield* Fiber.join(waiter)).state, "cancelled")
    }).pipe(Effect.provide(layer)))

  it.effect("CR-14 is told of a flow that cannot be read, and nobody else hears of it", () =>
    Effect.gen(function*() {
      const [flows, store] = [yield* Flows, yield* FlowStore]
      const begun = yield* Effect.forEach(Array.from({ length: 9 }, (_, index) => `s${index}`), begin)
      const damaged = begun[4]!
      const [{ getAll }, gate] = [store, yield* Deferred.make<void>()]
      const asked: Array<number> = []
      Object.assign(store, {
        getAll: (owners: Parameters<typeof getAll>[0]) =>
          Effect.andThen(
            Deferred.await(gate),
            Effect.suspend(() => {
              asked.push(owners.length)
              return owners.some(({ id }) => id === damaged.owner.id)
                ? Effect.fail(new StoreError({ code: "store_corrupt", operation: "test" }))
                : getAll(owners)
            })
          )
      })
      const waiters = yield* Effect.forEach(begun, ({ owner }) =>
        Effect.forkChild(Effect.exit(flows.wait(owner, "1 minute")), { startImmediately: true }))
      yield* Deferred.succeed(gate, undefined)
      yield* TestClock.adjust("2 seconds")
      const gone = waiters.map((waiter) =>
        waiter.pollUnsafe() !== undefined
      )
      assert.deepStrictEqual(gone, begun.map((one) => one === damaged))
      assert.isAbove(Math.max(...asked), 1)
      const told = yield* Effect.flip(Effect.flatten(Fiber.join(waiters[4]!)))
      assert.strictEqual(told._tag === "StoreError" ? told.code : told._tag, "store_corrupt")
      for (const { owner } of begun) if (owner !== damaged.owner) yield* flows.cancel(owner)
      yield* TestClock.adjust("2 seconds")
      for (const waiter of waiters.filter((one) => one !== waiters[4])) {
        assert.strictEqual((yield* Effect.flatten(Fiber.join(waiter))).state, "cancelled")
      }
    }).pipe(Effect.provide(layer)))

  it.effect("S4x.6 waits as long as it said, by the clock, when every read of the store is slow", () =>
    Effect.gen(function*() {
      const store = yield* FlowStore
      const { owner } = yield* begin("mcp")
      const { getAll } = store
      const slow = Duration.seconds(3)
      Object.assign(store, { getAll: (input: Parameters<typeof getAll>[0]) => Effect.delay(getAll(input), slow) })
      const from = yield* Clock.currentTimeMillis
      const waiter = yield* Effect.forkChild((yield* Flows).wait(owner, "20 seconds"), { startImmediately: true })
      while (waiter.pollUnsafe() === undefined) yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(waiter)).state, "pending")
      // The last look is a read too.
      assert.isAtMost((yield* Clock.currentTimeMillis) - from, 20_000 + 2 * Duration.toMillis(slow))
    }).pipe(Effect.provide(layer)))
})
