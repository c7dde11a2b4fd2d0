import { canTransition, type FlowState, isTerminal } from "@valetkey/domain/Flow"
import type { Case } from "./Case.ts"

/** Holds the rows of flows against I8 and I9. */
export class FlowStates {
  /** Flows whose own response came, as its person sent it. */
  readonly answered = new Set<string>()
  readonly #case: Case
  readonly #states = new Map<string, FlowState>()

  constructor(history: Case) {
    this.#case = history
  }

  /** Looks at what the turn has changed. */
  look(): void {
    const { flows } = this.#case.evidence.world
    if (flows.size === 0) return
    const open = new Set<string>()
    for (const [id, { flow }] of flows) {
      if (!isTerminal(flow.state)) {
        if (open.has(flow.key.path)) this.#case.broken("I8", "two flows of a connection are open")
        open.add(flow.key.path)
      }
      const before = this.#states.get(id)
      if (before === flow.state) continue
      this.#states.set(id, flow.state)
      this.#case.count(`flow: ${flow.state}${flow.failure === undefined ? "" : ` ${flow.failure}`}`)
      if (before !== undefined && !canTransition(before, flow.state)) {
        this.#case.broken("I8", `a flow went from ${before} to ${flow.state}`)
      }
      if ((flow.state === "exchanging" || flow.state === "completed") && !this.answered.has(id)) {
        this.#case.broken("I9", `a flow is ${flow.state} without its own response`)
      }
    }
  }

  end(): void {
    for (const state of this.#states.values()) {
      if (!isTerminal(state)) this.#case.broken("I8", `a flow stays ${state}`)
    }
  }
}
