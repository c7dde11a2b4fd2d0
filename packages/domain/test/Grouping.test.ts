import { assert, describe, it } from "@effect/vitest"
import { makeGrouping, type Member } from "@valetkey/domain/Grouping"
import { Deferred, Effect, Exit, Fiber, Latch, Scope } from "effect"

const letters = ["a", "b", "c"]

/** Groups whose work a gate holds back, and what they were made of. */
const gated = (
  options: { readonly lanes: number; readonly size: number; readonly nameOf?: (input: string) => string }
) =>
  Effect.gen(function*() {
    const groups: Array<ReadonlyArray<string>> = []
    const begun = yield* Latch.make()
    const gate = yield* Latch.make()
    const submit = yield* makeGrouping<string, string, string>({
      ...options,
      run: (members: ReadonlyArray<Member<string, string, string>>) =>
        Effect.gen(function*() {
          groups.push(members.map(({ input }) => input))
          yield* begun.open
          yield* gate.await
          for (const { done, input } of members) yield* Deferred.succeed(done, input.toUpperCase())
        })
    })
    const fork = (input: string) => Effect.forkChild(submit(input), { startImmediately: true })
    return { groups, begun, gate, fork }
  })

describe("makeGrouping", () => {
  it.effect("makes one group of what is asked for in one turn", () =>
    Effect.scoped(Effect.gen(function*() {
      const { fork, gate, groups } = yield* gated({ lanes: 2, size: 10 })
      yield* gate.open
      const fibers = yield* Effect.forEach(letters, fork)
      assert.deepStrictEqual(yield* Effect.forEach(fibers, Fiber.join), ["A", "B", "C"])
      assert.deepStrictEqual(groups, [letters])
    })))

  it.effect("collects what comes while its lanes are busy, and no group is larger than its size", () =>
    Effect.scoped(Effect.gen(function*() {
      const { begun, fork, gate, groups } = yield* gated({ lanes: 1, size: 2 })
      const first = yield* fork("first")
      yield* begun.await
      const rest = yield* Effect.forEach(letters, fork)
      yield* gate.open
      assert.deepStrictEqual(yield* Effect.forEach([first, ...rest], Fiber.join), ["FIRST", "A", "B", "C"])
      assert.deepStrictEqual(groups, [["first"], ["a", "b"], ["c"]])
    })))

  it.effect("hands on whoever asks for the same together, and counts them as one", () =>
    Effect.scoped(Effect.gen(function*() {
      const { begun, fork, gate, groups } = yield* gated({ lanes: 1, size: 2, nameOf: (input) => input.slice(0, 1) })
      const first = yield* fork("first")
      yield* begun.await
      const rest = yield* Effect.forEach(["a1", "b1", "c1", "a2", "c2", "d1", "b2"], fork)
      yield* gate.open
      const done = yield* Effect.forEach([first, ...rest], Fiber.join)
      assert.deepStrictEqual(done, ["FIRST", "A1", "B1", "C1", "A2", "C2", "D1", "B2"])
      assert.deepStrictEqual(groups, [["first"], ["a1", "b1", "a2", "b2"], ["c1", "c2", "d1"]])
    })))

  it.effect("hands on nothing of a caller that left before its turn, and finishes what it left later", () =>
    Effect.scoped(Effect.gen(function*() {
      const { begun, fork, gate, groups } = yield* gated({ lanes: 1, size: 10 })
      const left = yield* fork("left")
      const stays = yield* fork("stays")
      yield* begun.await
      const [gone, next] = yield* Effect.forEach(["gone", "next"], fork)
      yield* Fiber.interrupt(gone!)
      yield* Fiber.interrupt(left)
      yield* gate.open
      assert.deepStrictEqual(yield* Effect.forEach([stays, next!], Fiber.join), ["STAYS", "NEXT"])
      assert.deepStrictEqual(groups, [["left", "stays"], ["next"]])
    })))

  it.effect("fails the members of the group that failed, and goes on", () =>
    Effect.scoped(Effect.gen(function*() {
      let groups = 0
      const submit = yield* makeGrouping<string, string, string>({
        lanes: 1,
        size: 2,
        run: (members) =>
          groups++ === 0
            ? Effect.fail("no")
            : Effect.forEach(members, ({ done, input }) => Deferred.succeed(done, input), { discard: true })
      })
      const results = yield* Effect.all(letters.map((letter) => Effect.exit(submit(letter))), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(results, [Exit.fail("no"), Exit.fail("no"), Exit.succeed("c")])
    })))

  it.effect("ends with its scope, and leaves no caller waiting", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { begun, fork } = yield* Scope.provide(gated({ lanes: 1, size: 1 }), scope)
      const [running, queued] = yield* Effect.forEach(["running", "queued"], fork)
      yield* begun.await
      yield* Scope.close(scope, Exit.void)
      for (const fiber of [running!, queued!]) assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
    }))
})
