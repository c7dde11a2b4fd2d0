import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import * as TestClock from "effect/testing/TestClock"
import { poll } from "../src/Consent.ts"
import type { Remote } from "../src/Remote.ts"
import type { Flow } from "../src/Wire.ts"

/** A flow of ten minutes that nobody settles, on a server whose clock is elsewhere. */
const flow: Flow = {
  flowId: "019a0000-0000-7000-8000-000000000000",
  server: "x",
  status: "pending",
  transport: "loopback",
  handOffs: 0,
  createdAt: "2031-01-01T00:00:00.000Z",
  expiresAt: "2031-01-01T00:10:00.000Z"
}

const silent: Remote = {
  call: (operation) =>
    Effect.flatMap(
      Effect.sleep("25 seconds"),
      () => operation.accepts(flow, 200) ? Effect.succeed(flow) : Effect.die("not a flow")
    )
}

describe("the wait for a consent", () => {
  it.effect("ends a minute after the flow must have ended, for a server that never says so", () =>
    Effect.gen(function*() {
      const waiting = yield* Effect.forkChild(poll(silent, flow.flowId))
      yield* TestClock.adjust("11 minutes")
      assert.isUndefined(waiting.pollUnsafe())
      yield* TestClock.adjust("50 seconds")
      const ended = yield* Fiber.await(waiting)
      assert.isTrue(Exit.isFailure(ended))
      assert.propertyVal(yield* Effect.flip(Fiber.join(waiting)), "code", "flow_expired")
    }))
})
