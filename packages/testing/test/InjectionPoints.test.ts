import { assert, describe, it } from "@effect/vitest"
import * as Checkpoint from "@valetkey/domain/Checkpoint"
import { InjectedDefect, InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { Cause, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"

describe("InjectionPoints", () => {
  it.effect("holds the first at a point until it is released, and lets the rest pass", () =>
    Effect.gen(function*() {
      const points = yield* InjectionPoints
      const order: Array<string> = []
      yield* points.pause("refresh.sent", { times: 1 })
      const first = yield* Effect.forkChild(
        Effect.andThen(Checkpoint.reach("refresh.sent"), Effect.sync(() => order.push("first")))
      )
      yield* points.awaitReached("refresh.sent")
      yield* Checkpoint.reach("refresh.sent")
      order.push("second")
      yield* points.release("refresh.sent")
      yield* Fiber.join(first)
      assert.deepStrictEqual(order, ["second", "first"])
      assert.strictEqual(yield* points.count("refresh.sent"), 2)
      yield* points.awaitReached("refresh.sent", 2)
    }).pipe(Effect.provide(InjectionPoints.layer)))

  it.effect("dies, interrupts, delays and runs at its point only", () =>
    Effect.gen(function*() {
      const points = yield* InjectionPoints
      yield* points.die("flow.claimed", { times: 1 })
      const died = yield* Effect.exit(Checkpoint.reach("flow.claimed"))
      assert.instanceOf(Exit.isFailure(died) ? Cause.squash(died.cause) : undefined, InjectedDefect)
      yield* Checkpoint.reach("flow.claimed")

      yield* points.interrupt("flow.code_sent")
      const fiber = yield* Effect.forkChild(Checkpoint.reach("flow.code_sent"))
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))

      yield* points.delay("flow.before_commit", "10 seconds")
      const slow = yield* Effect.forkChild(Checkpoint.reach("flow.before_commit"))
      yield* TestClock.adjust("9 seconds")
      assert.isUndefined(slow.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(slow)

      let ran = 0
      yield* points.run("flow.after_commit", Effect.sync(() => void ran++))
      yield* Checkpoint.reach("flow.after_commit")
      yield* points.clear("flow.after_commit")
      yield* Checkpoint.reach("flow.after_commit")
      assert.strictEqual(ran, 1)
      assert.deepStrictEqual(yield* points.history, [
        "flow.claimed",
        "flow.claimed",
        "flow.code_sent",
        "flow.before_commit",
        "flow.after_commit",
        "flow.after_commit"
      ])
    }).pipe(Effect.provide(InjectionPoints.layer)))

  it.effect("does nothing at a point without an action", () =>
    Effect.gen(function*() {
      yield* Checkpoint.reach("refresh.claimed")
    }))
})
