import { assert, describe, it } from "@effect/vitest"
import { LogRecorder } from "@valetkey/testing/LogRecorder"
import { SpanRecorder } from "@valetkey/testing/SpanRecorder"
import { Effect } from "effect"

describe("SpanRecorder and LogRecorder", () => {
  it.effect("I12 records attributes, events and failures of spans", () =>
    Effect.gen(function*() {
      yield* Effect.fail(new Error("the reason")).pipe(
        Effect.annotateSpans("outer", 1),
        Effect.withSpan("work", { attributes: { id: "c1" } }),
        Effect.exit
      )
      yield* Effect.logInfo("an event").pipe(Effect.withSpan("quiet"))
      const { spans, text } = yield* SpanRecorder
      const [work] = yield* spans
      assert.strictEqual(work?.name, "work")
      assert.deepInclude(work?.attributes, { id: "c1" })
      assert.include(work?.failure ?? "", "the reason")
      assert.include(yield* text, "quiet")
    }).pipe(Effect.provide(SpanRecorder.layer)))

  it.effect("I12 records log lines at every level with annotations and cause", () =>
    Effect.gen(function*() {
      yield* Effect.logTrace("deep", new Error("the cause")).pipe(Effect.annotateLogs("connection", "c1"))
      const lines = yield* (yield* LogRecorder).lines
      assert.strictEqual(lines.length, 1)
      for (const part of ["deep", "the cause", "c1"]) assert.include(lines[0] ?? "", part)
    }).pipe(Effect.provide(LogRecorder.layer)))
})
