import { assert, describe, it } from "@effect/vitest"
import { judge } from "./Checker.ts"
import type { Call } from "./History.ts"
import { add, broken, call, type Draft, redemption, sound } from "./PlantedHistory.ts"

// The ids of guarantees stand in no title here: what these tests prove is the checker.
describe("the checker of answers", () => {
  it("finds a stale token, the rejected one, and one that another caller had rejected", () => {
    assert.deepStrictEqual(broken(add("calls", call({ at: 61_000, token: "A1", generation: 2, replica: 1 }))), ["I6"])
    assert.deepStrictEqual(broken(add("calls", call({ at: 4000, token: "A1", generation: 2, rejected: "A1" }))), ["I6"])
    const late = (history: Draft) => add("calls", call({ at: 61_000, token: "A1", generation: 2, replica: 1 }))(history)
    assert.deepStrictEqual(
      broken((history) => {
        late(history)
        add("redemptions", redemption({ at: 60_000, token: "R2", plan: "busy", outcome: "turned_away" }))(history)
      }),
      []
    )
    // Two lifetimes later, and after A1 was rejected.
    assert.include(broken(add("calls", call({ at: 63_500, token: "A1", generation: 3 }))), "I6")
  })

  it("finds a call that took too long and a row that stayed under way", () => {
    assert.deepStrictEqual(broken(add("calls", call({ at: 3000, end: 43_000, token: "A1", generation: 2 }))), ["I7"])
    assert.deepStrictEqual(
      broken((history) => {
        add("calls", call({ at: 3000, end: 43_000, token: "A1", generation: 2 }))(history)
        add("faults", { what: "pause", from: 3100, to: 35_000, replica: 0 })(history)
      }),
      []
    )
    assert.deepStrictEqual(broken(add("rest", { connection: 1, phase: "sent" })), ["I7"])
  })

  it("finds a token of somebody else, and one that nobody issued", () => {
    assert.deepStrictEqual(broken(add("calls", call({ at: 3000, token: "B1", generation: 2 }))), ["I10"])
    assert.deepStrictEqual(broken(add("calls", call({ at: 3000, token: "X", generation: 2 }))), ["I10"])
  })

  it("finds a call without an answer, a wrong answer, and a drain that ends badly", () => {
    const unanswered = call({ at: 3000, status: 0 })
    assert.deepStrictEqual(broken(add("calls", unanswered)), ["I19"])
    assert.deepStrictEqual(broken(add("calls", { ...unanswered, missed: "socket hang up", phase: "kept" })), ["I19"])
    assert.deepStrictEqual(broken(add("calls", { ...unanswered, missed: "connect ECONNREFUSED 127.0.0.1:1" })), [])
    assert.deepStrictEqual(broken(add("calls", call({ at: 3000, status: 500 }))), ["I19"])
    assert.deepStrictEqual(broken(add("calls", call({ at: 3000, retryAfter: false }))), ["I19"])
    assert.deepStrictEqual(broken(add("exits", { at: 1, end: 2, replica: 0, code: "SIGABRT" })), ["I19"])
  })

  it("finds a call that was dropped after a replica had read it or its connection was accepted, and that no kill ended", () => {
    const dropped = (how: Partial<Call>, what: string, from = 2500) =>
      broken((history) => {
        add("calls", call({ at: 3000, status: 0, missed: "socket hang up", ...how }))(history)
        add("faults", { what, from, to: 4000, replica: 0 })(history)
      })
    const unread: Partial<Call> = { phase: "kept", read: false }
    assert.deepStrictEqual(dropped(unread, "term"), [])
    assert.deepStrictEqual(dropped({ phase: "connect", read: false }, "term"), [])
    assert.deepStrictEqual(dropped({ phase: "kept", read: true }, "term"), ["I19"])
    assert.deepStrictEqual(dropped({ phase: "kept" }, "term"), ["I19"])
    assert.deepStrictEqual(dropped({ phase: "new", accepted: false, read: false }, "term"), [])
    assert.deepStrictEqual(dropped({ phase: "new", accepted: true, read: false }, "term"), ["I19"])
    assert.deepStrictEqual(dropped({ phase: "new", read: false }, "term"), ["I19"])
    assert.deepStrictEqual(dropped({ phase: "answer", read: true }, "term"), ["I19"])
    assert.deepStrictEqual(dropped({ phase: "late", read: true }, "term"), ["I19"])
    // Before the signal no connection is ended, and after the restart there is another process.
    assert.deepStrictEqual(dropped(unread, "term", 3500), ["I19"])
    assert.deepStrictEqual(dropped({ ...unread, at: 4500, end: 4510 }, "term"), ["I19"])
    assert.deepStrictEqual(dropped({ ...unread, at: 4500, end: 4510 }, "kill"), ["I19"])
    assert.deepStrictEqual(dropped({ phase: "answer", read: true }, "kill"), [])
    assert.deepStrictEqual(dropped({ phase: "kept", read: true }, "store line"), ["I19"])
    assert.deepStrictEqual(dropped({ phase: "late", read: true }, "starved"), [])
    assert.deepStrictEqual(dropped({ phase: "kept", read: true }, "starved"), ["I19"])
  })

  it("says what the log has about a wrong answer", () => {
    const history = sound()
    history.log = { c1: ["replica 0: request failed"] }
    add("calls", call({ at: 3000, status: 500, correlation: "c1" }))(history)
    const [violation] = judge(history).flatMap(({ violations }) => violations)
    assert.deepStrictEqual(violation?.log, ["replica 0: request failed"])
  })
})
