import { assert, describe, it } from "@effect/vitest"
import * as ProcessInjection from "@valetkey/testing/ProcessInjection"
import { Effect } from "effect"
import { fork } from "node:child_process"
import { join } from "node:path"

const start = Effect.acquireRelease(
  Effect.sync(() => {
    const child = fork(join(import.meta.dirname, "fixtures/stops.ts"), {
      env: { ...process.env, [ProcessInjection.variable]: "refresh.sent" },
      execArgv: []
    })
    const exit = new Promise<number | string | null>((resolve) =>
      child.once("exit", (code, signal) => resolve(code ?? signal))
    )
    return { child, exit, points: ProcessInjection.control(child) }
  }),
  ({ child }) => Effect.sync(() => void child.kill("SIGKILL"))
)

describe("ProcessInjection", () => {
  it.live("stops a child at a point, so that it can be killed exactly there", () =>
    Effect.gen(function*() {
      const { child, exit, points } = yield* start
      yield* points.awaitReached("refresh.sent")
      child.kill("SIGKILL")
      assert.strictEqual(yield* Effect.promise(() => exit), "SIGKILL")
      assert.deepStrictEqual(points.history, ["refresh.claimed", "refresh.sent"])
    }).pipe(Effect.scoped))

  it.live("lets a stopped child go on to its end", () =>
    Effect.gen(function*() {
      const { exit, points } = yield* start
      yield* points.awaitReached("refresh.sent")
      yield* points.release("refresh.sent")
      yield* points.awaitReached("refresh.after_commit")
      assert.strictEqual(yield* Effect.promise(() => exit), 0)
    }).pipe(Effect.scoped))

  it.live("has a child kill itself at an armed point, in the turn in which it comes there", () =>
    Effect.gen(function*() {
      const { exit, points } = yield* start
      yield* points.awaitReached("refresh.sent")
      points.arm("refresh.after_commit", { spinMillis: 1 })
      points.arm("refresh.after_commit", undefined)
      points.arm("refresh.after_commit", "kill")
      yield* points.release("refresh.sent")
      assert.strictEqual(yield* Effect.promise(() => exit), "SIGKILL")
    }).pipe(Effect.scoped))
})
