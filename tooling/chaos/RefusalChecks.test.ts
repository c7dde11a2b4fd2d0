import { assert, describe, it } from "@effect/vitest"
import type { Call, Change } from "./History.ts"
import { add, broken, call, change, deposit, redemption } from "./PlantedHistory.ts"

// The ids of guarantees stand in no title here: what these tests prove is the checker.
describe("the checker of refusals", () => {
  it("finds a caller who is refused what the row has, and one who is told of another state than the row's", () => {
    const told = (status: number, of: Partial<Call> = {}, ...changes: ReadonlyArray<Change>) =>
      broken((history) => {
        add("calls", call({ at: 64_000, status, retryAfter: false, ...of }))(history)
        add("changes", ...changes)(history)
        history.changes = history.changes.toSorted((a, b) => a.at - b.at)
      })
    assert.deepStrictEqual(told(409, { code: "reauthorization_required" }), ["I5"])
    assert.deepStrictEqual(told(404, { code: "connection_not_found" }), ["I20"])
    const row = (at: number, status: string) => change({ at, status, generation: 3 })
    const gone = [row(63_000, "revoking"), row(63_900, "active")]
    assert.deepStrictEqual(told(404, {}, ...gone), [])
    assert.deepStrictEqual(told(404, { code: "not_found" }, ...gone), ["I20"])
    assert.deepStrictEqual(told(409, {}, ...gone), ["I5"])
    // The row came back long before, or changed only afterwards.
    assert.deepStrictEqual(told(404, { at: 70_000, end: 70_010 }, ...gone), ["I20"])
    assert.deepStrictEqual(told(404, { at: 62_900, end: 62_910 }, ...gone), ["I20"])
    // Nobody saw that it was back before the person was told so.
    const deed = { ...deposit({ at: 63_800 }), end: 69_000 }
    assert.deepStrictEqual(
      broken((history) => {
        add("deeds", deed)(history)
        add("calls", call({ at: 68_500, status: 404 }), call({ at: 900, status: 404 }))(history)
        history.changes = [...history.changes, ...gone].toSorted((a, b) => a.at - b.at)
      }),
      []
    )
    assert.deepStrictEqual(
      broken((history) => {
        history.grants = history.grants.map((grant) => grant.id === 1 ? { ...grant, revokedAt: 121_500 } : grant)
        history.redemptions = history.redemptions.map((one) =>
          one.token === "R3" ? redemption({ at: one.at, token: "R3", outcome: "refused" }) : one
        )
        history.changes = history.changes.map((one) =>
          one.generation === 4 ? { ...row(one.at, "needs_reauth"), reason: "refresh_token_rejected" } : one
        )
        history.calls = history.calls.map((one) =>
          one.token === "A3" ? { ...one, status: 409, token: undefined, generation: undefined } : one
        )
      }),
      []
    )
    // Everybody in the end, although nothing is wrong.
    assert.deepStrictEqual(
      broken((history) => {
        history.calls = history.calls.map((one) =>
          one.at < 121_000 ? one : { ...one, status: 409, token: undefined, generation: undefined }
        )
      }),
      ["I5"]
    )
  })
})
