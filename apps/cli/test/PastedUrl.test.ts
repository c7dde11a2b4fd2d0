import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Queue, Redacted } from "effect"
import { PassThrough } from "node:stream"
import * as PastedUrl from "../src/PastedUrl.ts"

/** A terminal in place of stdin, with the modes that it was put into. */
const terminal = Effect.acquireRelease(
  Effect.sync(() => {
    const stdin = process.stdin
    const modes: Array<boolean> = []
    const keys = new PassThrough()
    const fake = Object.assign(keys, { isTTY: true, setRawMode: (raw: boolean) => (modes.push(raw), keys) })
    Object.defineProperty(process, "stdin", { value: fake, configurable: true })
    return { stdin, modes, keys }
  }),
  ({ stdin }) => Effect.sync(() => Object.defineProperty(process, "stdin", { value: stdin, configurable: true }))
)

/** The reader at work, and what it passed on. */
const reading = Effect.gen(function*() {
  const { keys, modes } = yield* terminal
  const lines = yield* Queue.unbounded<string>()
  const reader = yield* Effect.forkScoped(
    PastedUrl.each(Effect.void, (line) => Effect.asVoid(Queue.offer(lines, Redacted.value(line)))),
    { startImmediately: true }
  )
  return { keys, modes, reader, next: Queue.take(lines) }
})

describe("an address pasted at a terminal", () => {
  it.live("is read line by line, however long, as it was corrected, and nothing is passed on for an empty one", () =>
    Effect.scoped(Effect.gen(function*() {
      const { keys, next } = yield* reading
      const long = `http://127.0.0.1:1/cb?code=${"x".repeat(20_000)}`
      keys.write("\r\n  \r")
      for (const chunk of [long.slice(0, 5000), long.slice(5000), "\r"]) keys.write(chunk)
      assert.strictEqual(yield* next, long)
      keys.write("wrong\u0015rigth\u007f\u007fht\n")
      assert.strictEqual(yield* next, "right")
    })))

  it.live("LOOP-15 is not shown: the terminal shows nothing while it is read, and everything again afterwards", () =>
    Effect.scoped(Effect.gen(function*() {
      const { keys, modes, next, reader } = yield* reading
      keys.write("one\r")
      yield* next
      assert.deepStrictEqual(modes, [true])
      yield* Fiber.interrupt(reader)
      assert.deepStrictEqual(modes, [true, false])
      assert.strictEqual(keys.listenerCount("data"), 0)
      const once = yield* Effect.forkScoped(PastedUrl.read, { startImmediately: true })
      keys.write("two\r")
      assert.strictEqual(Redacted.value(yield* Fiber.join(once)), "two")
      assert.deepStrictEqual(modes.slice(2), [true, false])
    })))

  it.live("leaves Ctrl+C what it is", () =>
    Effect.scoped(Effect.gen(function*() {
      const { keys } = yield* reading
      const interrupted = yield* Deferred.make<void>()
      const onSignal = () => void Effect.runFork(Deferred.succeed(interrupted, undefined))
      yield* Effect.acquireRelease(
        Effect.sync(() => process.once("SIGINT", onSignal)),
        () => Effect.sync(() => process.off("SIGINT", onSignal))
      )
      keys.write("http://127.0.0.1:1/cb?co\u0003")
      yield* Deferred.await(interrupted)
    })))
})
