import { assert, describe, it } from "@effect/vitest"
import { canTransition, type FlowState, FlowState as FlowStates, isTerminal, openStates } from "@valetkey/domain/Flow"
import fc from "fast-check"

const state = fc.constantFrom(...FlowStates.literals)

describe("the flow state machine", () => {
  it("I8 leaves no terminal state, whatever is tried", () => {
    fc.assert(
      fc.property(fc.array(state, { maxLength: 20 }), (steps) => {
        let current: FlowState = "pending"
        let settled: FlowState | undefined
        for (const next of steps) {
          if (canTransition(current, next)) current = next
          if (settled !== undefined) assert.strictEqual(current, settled)
          if (isTerminal(current)) settled = current
        }
      }),
      { numRuns: 2000 }
    )
  })

  it("I8 completes only out of an exchange, and exchanges only once claimed or finalized", () => {
    for (const from of FlowStates.literals) {
      assert.strictEqual(canTransition(from, "completed"), from === "exchanging")
      assert.strictEqual(canTransition(from, "exchanging"), from === "pending" || from === "awaiting_finalize")
      assert.isFalse(canTransition(from, "pending"))
    }
  })

  it("reaches a terminal state from every open one", () => {
    assert.deepStrictEqual([...openStates], ["pending", "awaiting_finalize", "exchanging"])
    for (const from of openStates) {
      assert.isTrue(FlowStates.literals.some((to) => isTerminal(to) && canTransition(from, to)))
    }
  })
})
