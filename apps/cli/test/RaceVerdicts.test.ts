import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import * as TestClock from "effect/testing/TestClock"
import type { CliFailure } from "../src/CliFailure.ts"
import { Output } from "../src/Output.ts"
import { race } from "../src/Race.ts"
import * as Remote from "../src/Remote.ts"
import * as StrayTraffic from "./support/StrayTraffic.ts"

/** Two callers of one connection at these servers; the failure that it ends with. */
const raced = (
  rounds: number,
  urls: ReadonlyArray<string>,
  options?: { readonly stop?: Effect.Effect<void>; readonly said?: (text: string) => Effect.Effect<void> }
) =>
  race(
    { connections: 1, callers: 2, rounds, stand: { host: "127.0.0.1", port: 0 } },
    urls.map((url) => Remote.at(url, "any")),
    options?.stop ?? Effect.never
  ).pipe(
    Effect.flip,
    Effect.provideService(
      Output,
      Output.of({
        json: true,
        watched: false,
        result: () => Effect.void,
        data: () => Effect.void,
        say: options?.said ?? (() => Effect.void),
        status: () => Effect.void
      })
    )
  )

interface Details {
  readonly run: string
  readonly left: ReadonlyArray<string>
  readonly redemptions: Readonly<Record<string, number>>
  readonly rounds: ReadonlyArray<{ readonly kind: string; readonly failedCallers: number }>
}

const detailsOf = ({ details }: CliFailure) => details as unknown as Details

const verdictsOf = (told: CliFailure) => detailsOf(told).rounds.map(({ failedCallers, kind }) => [kind, failedCallers])

describe.concurrent("a race", () => {
  it.live("I1 finds servers that refresh for every caller, and names what it could not remove", () =>
    Effect.scoped(Effect.gen(function*() {
      const said: Array<string> = []
      const told = yield* raced(1, [yield* StrayTraffic.forgetful], {
        said: (text) => Effect.sync(() => void said.push(text))
      })
      assert.strictEqual(told.code, "race_found_problems")
      assert.include(told.message, "1 redemption replaced a token that was good")
      assert.include(told.message, "2 connections could not be removed")
      const { left, redemptions, run } = detailsOf(told)
      assert.deepStrictEqual(redemptions, { expected: 1, seen: 2, needless: 1, reused: 0 })
      assert.deepStrictEqual(left, [`doctor-race-${run}-check-1`, `doctor-race-${run}-1`])
      assert.include(said.join("\n"), `Could not be removed: ${left.join(", ")}`)
    })))

  it.live("I1 finds one that hands out what was refused, and what has ended, while it refreshes as it should", () =>
    Effect.scoped(Effect.gen(function*() {
      const told = yield* raced(3, [yield* StrayTraffic.stale])
      assert.strictEqual(told.message, "2 callers got no good token: token_not_good (2)")
      assert.deepStrictEqual(verdictsOf(told), [["missing", 0], ["refused", 1], ["ended", 1]])
      const { left, redemptions } = detailsOf(told)
      assert.deepStrictEqual(redemptions, { expected: 3, seen: 3, needless: 0, reused: 0 })
      assert.deepStrictEqual(left, [])
    })))

  it.live("I1 finds one that never refreshes", () =>
    Effect.scoped(Effect.gen(function*() {
      const told = yield* raced(2, [yield* StrayTraffic.idle])
      assert.strictEqual(
        told.message,
        "1 refresh that callers needed did not take place. 2 callers got no good token: token_not_good (2)"
      )
      assert.deepStrictEqual(verdictsOf(told), [["missing", 0], ["refused", 2]])
    })))

  it.live("is no success while a connection cannot be removed", () =>
    Effect.scoped(Effect.gen(function*() {
      const told = yield* raced(1, [yield* StrayTraffic.littering])
      assert.strictEqual(told.code, "race_found_problems")
      assert.strictEqual(told.message, "2 connections could not be removed")
      assert.lengthOf(detailsOf(told).left, 2)
    })))

  it.effect("waits ten seconds for a silent server to take a connection, and says at once that it stops", () =>
    Effect.scoped(Effect.gen(function*() {
      const [arrived, stop, stopping] = [
        Deferred.makeUnsafe<void>(),
        Deferred.makeUnsafe<void>(),
        Deferred.makeUnsafe<void>()
      ]
      const gone = JSON.stringify({
        type: "https://valetkey.dev/problems/x",
        code: "connection_not_found",
        detail: "None"
      })
      const silent = yield* StrayTraffic.listen(async (request) => {
        if (request.method !== "PUT") return [404, gone]
        Deferred.doneUnsafe(arrived, Effect.void)
        return new Promise(() => {})
      })
      const racing = yield* Effect.forkChild(raced(1, [silent], {
        stop: Deferred.await(stop),
        said: (text) => /being removed/.test(text) ? Effect.asVoid(Deferred.succeed(stopping, undefined)) : Effect.void
      }))
      yield* Deferred.await(arrived)
      yield* Deferred.succeed(stop, undefined)
      yield* Deferred.await(stopping)
      yield* TestClock.adjust("10 seconds")
      const told = yield* Fiber.join(racing)
      assert.strictEqual(told.code, "interrupted")
      // What was asked for may arrive after its removal.
      assert.match(detailsOf(told).left.join(), /^doctor-race-[0-9a-f]{8}-check-1$/)
    })))
})
