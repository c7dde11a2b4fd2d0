import { assert, describe, it } from "@effect/vitest"
import type { Flow } from "@valetkey/domain/Flow"
import { type FlowOwner, Flows } from "@valetkey/domain/Flows"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { flowTopic, Signals } from "@valetkey/domain/Signals"
import { SubjectId } from "@valetkey/domain/Subject"
import { Clock, Context, Duration, Effect, Exit, Fiber, Latch, Layer } from "effect"
import { TestClock } from "effect/testing"
import fc from "fast-check"
import { makePatience, type Patient } from "../src/internal/patienceList.ts"
import { begin, comeBack, layer, response } from "./World.ts"

/** Registers a waiter without a fiber and gives what became of it. */
const attend = Effect.fnUntraced(function*(owner: FlowOwner, atMost: Duration.Input = "1 minute") {
  const flows = yield* Flows
  const heard: Array<Exit.Exit<Flow, unknown>> = []
  const leave = yield* flows.onSettled(owner, atMost, (settled) => heard.push(Effect.runSyncExit(settled)))
  return {
    leave,
    states: () => heard.map((exit) => Exit.isSuccess(exit) ? exit.value.state : "none")
  }
})

/** Counts what the waiters of the use case ask the store. */
const counting = Effect.map(FlowStore, (store) => {
  const { ended, getAll } = store
  const asked = { getAll: 0, ended: 0 }
  Object.assign(store, {
    getAll: (owners: Parameters<typeof getAll>[0]) => {
      asked.getAll += owners.length
      return getAll(owners)
    },
    ended: (within: Duration.Duration) => {
      asked.ended++
      return ended(within)
    }
  })
  return asked
})

describe("many waiters", () => {
  it.effect("S4.20 each hear of their own flow, once, and not of another; who left hears nothing", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const [one, two] = [yield* begin("one"), yield* begin("two")]
      const waiters = yield* Effect.forEach([one, one, one, two], ({ owner }) => attend(owner))
      waiters[1]!.leave()
      waiters[1]!.leave()
      yield* flows.cancel(one.owner)
      assert.deepStrictEqual(waiters.map(({ states }) => states()), [["cancelled"], [], ["cancelled"], []])
      yield* flows.cancel(two.owner)
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(waiters.map(({ states }) => states()), [["cancelled"], [], ["cancelled"], ["cancelled"]])
    }).pipe(Effect.provide(layer)))

  it.effect("cost the store one question a second for all of them, and nothing when nobody waits", () =>
    Effect.gen(function*() {
      const asked = yield* counting
      const begun = yield* Effect.forEach(Array.from({ length: 20 }, (_, n) => `server-${n}`), begin)
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(asked, { getAll: 0, ended: 0 })
      const waiters = yield* Effect.forEach([...begun, ...begun], ({ owner }) => attend(owner))
      yield* TestClock.adjust("10 seconds")
      // Every one of them looked when it came, and no other time.
      assert.deepStrictEqual(asked, { getAll: 40, ended: 10 })
      for (const { leave } of waiters) leave()
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(asked, { getAll: 40, ended: 10 })
    }).pipe(Effect.provide(layer)))

  it.effect("need two timers at most, whatever number waits", () =>
    Effect.flatMap(Clock.Clock, (clock) => {
      let sleepers = 0
      const counted: Clock.Clock = Object.assign(Object.create(clock), {
        sleep: (duration: Duration.Duration) =>
          Effect.acquireUseRelease(
            Effect.sync(() => void sleepers++),
            () => clock.sleep(duration),
            () => Effect.sync(() => void sleepers--)
          )
      })
      return Effect.gen(function*() {
        const begun = yield* Effect.forEach(Array.from({ length: 10 }, (_, n) => `server-${n}`), begin)
        const before = sleepers
        const waiters = yield* Effect.forEach(
          Array.from({ length: 200 }, (_, n) => n),
          (n) => attend(begun[n % 10]!.owner, Duration.seconds(30 + n % 7))
        )
        // One more may be the audit trail's, which gathers what it writes next.
        assert.isAtMost(sleepers - before, 2 + 1)
        for (const { leave } of waiters) leave()
        assert.isAtMost(sleepers - before, 1)
      }).pipe(Effect.provide(layer), Effect.provideService(Clock.Clock, counted))
    }))

  it.effect("I10 get the flow of their own alone, by whatever id they ask", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const { owner } = yield* begin("mcp")
      const stranger = { ...owner, subject: SubjectId.make("mallory") }
      const store = yield* FlowStore
      const gate = yield* Latch.make()
      const { getAll } = store
      // Both are in one read.
      Object.assign(store, {
        getAll: (owners: Parameters<typeof getAll>[0]) => Effect.andThen(gate.await, getAll(owners))
      })
      const first = yield* begin("first")
      const busy = yield* Effect.forEach([first, yield* begin("second")], (other) => attend(other.owner))
      const waiters = yield* Effect.forEach([stranger, owner, stranger], (one) => attend(one))
      yield* gate.open
      yield* Effect.yieldNow
      yield* flows.cancel(owner)
      yield* Effect.yieldNow
      assert.deepStrictEqual(waiters.map(({ states }) => states()), [["none"], ["cancelled"], ["none"]])
      assert.deepStrictEqual(busy.map(({ states }) => states()), [[], []])
    }).pipe(Effect.provide(layer)))

  it.effect("take a flow that completes here without a read of it", () =>
    Effect.gen(function*() {
      const asked = yield* counting
      const { authorizationUrl, flow, owner } = yield* begin("mcp")
      const waiters = yield* Effect.forEach([owner, owner], (one) => attend(one))
      asked.getAll = 0
      const { settled } = yield* comeBack(flow.id, response(authorizationUrl))
      assert.strictEqual((yield* settled).state, "completed")
      assert.deepStrictEqual(waiters.map(({ states }) => states()), [["completed"], ["completed"]])
      // The browser's own wait began when the flow may have been over.
      assert.isAtMost(asked.getAll, 1)
    }).pipe(Effect.provide(layer)))

  it.effect("end with the application", () =>
    Effect.gen(function*() {
      const { owner } = yield* begin("mcp")
      const waiter = yield* Effect.scoped(Effect.gen(function*() {
        const flows = Context.get(yield* Layer.build(Layer.fresh(Flows.layer())), Flows)
        return yield* Effect.forkDetach(flows.wait(owner, "1 hour"), { startImmediately: true })
      }))
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(waiter)))
    }).pipe(Effect.provide(layer)))
})

describe("a waiter that looks while its flow settles", () => {
  /** Settles the flow after the store has read it as pending, and before whoever reads gets to see that. */
  const settledBehindARead = Effect.fnUntraced(function*(owner: FlowOwner, signalled: boolean) {
    const [signals, store] = [yield* Signals, yield* FlowStore]
    const { cancel, getAll } = store
    Object.assign(store, {
      getAll: (owners: Parameters<typeof getAll>[0]) =>
        Effect.gen(function*() {
          const stale = yield* getAll(owners)
          Object.assign(store, { getAll })
          yield* cancel(owner)
          if (signalled) yield* signals.notify(flowTopic(owner.id))
          return stale
        })
    })
  })

  it.effect("does not miss the signal", () =>
    Effect.gen(function*() {
      const { owner } = yield* begin("mcp")
      yield* settledBehindARead(owner, true)
      assert.strictEqual((yield* (yield* Flows).wait(owner, "1 minute")).state, "cancelled")
    }).pipe(Effect.provide(layer)))

  it.effect("DB-10 does without it, by the next poll", () =>
    Effect.gen(function*() {
      const { owner } = yield* begin("mcp")
      yield* settledBehindARead(owner, false)
      const waiter = yield* Effect.forkChild((yield* Flows).wait(owner, "1 minute"), { startImmediately: true })
      assert.isUndefined(waiter.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(waiter)).state, "cancelled")
    }).pipe(Effect.provide(layer)))
})

describe("patience", () => {
  interface Someone extends Patient {
    readonly name: number
  }
  type Step = { readonly add: number } | { readonly leave: number } | { readonly pass: number }
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.record({ add: fc.constantFrom(5, 10, 10, 30, 100) }),
    fc.record({ leave: fc.nat(40) }),
    fc.record({ pass: fc.nat(25) })
  )

  const play = (steps: ReadonlyArray<Step>) =>
    Effect.scoped(Effect.gen(function*() {
      const clock = yield* Clock.Clock
      const over: Array<readonly [number, number]> = []
      const expected: Array<readonly [number, number]> = []
      let [now, names] = [0, 0]
      const lists = yield* makePatience<Someone>(clock, ({ name }) => over.push([name, now]))
      const there = new Map<number, { readonly someone: Someone; readonly deadline: number }>()
      for (const one of steps) {
        if ("add" in one) {
          const someone: Someone = {
            name: names++,
            deadline: 0,
            list: undefined,
            earlier: undefined,
            later: undefined
          }
          there.set(someone.name, { someone, deadline: now + one.add })
          lists.add(someone, Duration.millis(one.add))
        } else if ("leave" in one) {
          const leaving = there.get(one.leave)
          if (leaving === undefined) continue
          there.delete(one.leave)
          lists.leave(leaving.someone)
        } else {
          for (let millis = 0; millis < one.pass; millis++) {
            now++
            for (const [name, { deadline }] of there) {
              if (deadline !== now) continue
              expected.push([name, now])
              there.delete(name)
            }
            yield* TestClock.adjust(Duration.millis(1))
          }
        }
      }
      const byTime = (a: readonly [number, number], b: readonly [number, number]) => a[1] - b[1] || a[0] - b[0]
      assert.deepStrictEqual(over.toSorted(byTime), expected.toSorted(byTime), JSON.stringify(steps))
      assert.deepStrictEqual(over.map(([, at]) => at), over.map(([, at]) => at).toSorted((a, b) => a - b))
    }))

  it.effect("ends for each in the order of the deadlines, on time, and for nobody who left", () =>
    Effect.gen(function*() {
      for (const steps of fc.sample(fc.array(step, { maxLength: 60 }), 200)) yield* play(steps)
    }))
})
