import { assert, describe, it } from "@effect/vitest"
import { ArchiveSealer } from "@valetkey/domain/ArchiveSealer"
import { Effect, Fiber, Redacted } from "effect"
import * as AgeArchiveSealer from "../src/AgeArchiveSealer.ts"

describe("AgeArchiveSealer", () => {
  it.live("derives one passphrase at a time, also when callers leave", () =>
    Effect.gen(function*() {
      const { seal } = yield* ArchiveSealer
      const sealing = seal(Redacted.make("{}"), {
        _tag: "Passphrase",
        passphrase: Redacted.make("correct horse battery")
      })
      const first = yield* Effect.forkChild(sealing, { startImmediately: true })
      let left = false
      const leaving = yield* Effect.forkChild(
        Effect.tap(Fiber.interrupt(first), () =>
          Effect.sync(() => {
            left = true
          })),
        { startImmediately: true }
      )
      // Its turn ends with its derivation, which takes a hundred times longer than these turns of the event loop.
      for (let turn = 0; turn < 10; turn++) yield* Effect.yieldNow
      assert.isFalse(left)
      yield* sealing
      assert.isTrue(left)
      yield* Fiber.join(leaving)
    }).pipe(Effect.provide(AgeArchiveSealer.layer)))
})
