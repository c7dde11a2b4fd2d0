import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { found } from "./Finding.ts"

const limit = 300_000

describe("replicas under chaos", () => {
  it.live("I1 I3 I4 I5 I6 I7 I10 I19 I20 I21 I23 hold while everything breaks", () =>
    Effect.gen(function*() {
      const { incidents, violations } = yield* found({})
      assert.deepStrictEqual(violations, [])
      assert.isAtLeast(Object.keys(incidents).length, 3)
    }), limit)

  it.live(
    "I1 I3 I19 hold while each replica is restarted in turn: nothing lost, nothing but 503 with Retry-After",
    () =>
      Effect.gen(function*() {
        const { incidents, violations } = yield* found({
          seconds: 90,
          only: ["term"],
          atOnce: 1,
          share: 0,
          until: ({ incidents }) => (incidents["term"] ?? 0) >= 3
        })
        assert.deepStrictEqual(violations, [])
        assert.isAtLeast(incidents["term"] ?? 0, 3)
      }),
    limit
  )

  it.live(
    "CR-08 I1 I3 I3′ I5 hold over SIGKILLs at random instants and at the points of a refresh, under load",
    () =>
      Effect.gen(function*() {
        const kinds = ["kill", "kill at a point"]
        const kills = (incidents: Readonly<Record<string, number>>) =>
          kinds.reduce((sum, kind) => sum + (incidents[kind] ?? 0), 0)
        const { incidents, violations } = yield* found({
          seconds: 120,
          only: kinds,
          until: ({ incidents }) => kills(incidents) >= 8
        })
        assert.deepStrictEqual(violations, [])
        assert.isAtLeast(kills(incidents), 8)
      }),
    limit
  )
})
