import { assert, describe, it } from "@effect/vitest"
import { document, problemsOf, type RaceReport, text } from "../src/RaceReport.ts"

const round = { kind: "ended", unrefreshed: 0, again: 0, calls: [16, 14], slowestMillis: 300, failures: {} } as const
const flawless: RaceReport = {
  run: "0a1b2c3d",
  servers: 2,
  connections: 3,
  callers: 10,
  rounds: [round, { ...round, kind: "refused", slowestMillis: 412 }],
  redemptions: 6,
  needless: 0,
  reused: 0,
  revoked: 0
}

describe("the report of a race", () => {
  it("has nothing to say of a race that needed more tokens because callers were slow, but names them", () => {
    const slow = { ...flawless, rounds: [round, { ...round, again: 2 }], redemptions: 8 }
    assert.deepStrictEqual(problemsOf(slow, []), [])
    assert.include(text(slow), "redemptions       6 expected, 8 seen, 2 of them later in a round")
    assert.include(text(slow), "servers asked     2, 32 and 28 times\n")
    assert.notInclude(text(flawless), "later")
  })

  it("names each promise that was not kept, with its figure", () => {
    const failures = { reauthorization_required: 9, token_not_good: 1 }
    const broken = {
      ...flawless,
      rounds: [{ ...round, failures: { reauthorization_required: 2 } }, { ...round, unrefreshed: 1, failures }],
      needless: 4,
      reused: 1,
      revoked: 1
    }
    const problems = problemsOf(broken, ["left"])
    assert.lengthOf(problems, 5)
    for (
      const [index, figure] of [
        "1 request carried a refresh token that was used already",
        "4 redemptions replaced a token that was good",
        "1 refresh that callers needed did not take place",
        "12 callers got no good token: reauthorization_required (11), token_not_good (1)",
        "1 connection could not be removed"
      ].entries()
    ) assert.include(problems[index], figure)
    const { calls, callsByServer, failedCallers, left, redemptions, rounds, slowestMillis } = document(broken, ["left"])
    assert.deepStrictEqual({ calls, callsByServer, failedCallers, left, redemptions, rounds, slowestMillis }, {
      calls: 60,
      callsByServer: [32, 28],
      left: ["left"],
      failedCallers: 12,
      redemptions: { expected: 6, seen: 6, needless: 4, reused: 1 },
      rounds: [
        { kind: "ended", slowestMillis: 300, failedCallers: 2 },
        { kind: "ended", slowestMillis: 300, failedCallers: 10 }
      ],
      slowestMillis: 300
    })
  })
})
