import { Callers } from "./Callers.ts"
import { Case, type Evidence } from "./Case.ts"
import { FlowStates } from "./FlowStates.ts"
import { Lives } from "./Lives.ts"
import { Redemptions } from "./Redemptions.ts"

/**
 * Holds what happens against I1 to I10, I20, I21 and I23. It sees the calls of the ports as the use cases make them, the rows
 * after each turn, what the provider hears, and what callers are given.
 */
export class Judge {
  readonly case: Case
  readonly redemptions: Redemptions
  readonly lives: Lives
  readonly callers: Callers
  readonly flows: FlowStates

  constructor(evidence: Evidence) {
    this.case = new Case(evidence)
    this.redemptions = new Redemptions(this.case)
    this.lives = new Lives(this.case, this.redemptions)
    this.callers = new Callers(this.case, this.lives)
    this.flows = new FlowStates(this.case)
  }

  /** Looks at what the turn has changed. */
  look(paths: ReadonlyArray<string>): void {
    this.lives.look(paths)
    this.flows.look()
  }

  /** Looks back when everybody is alive, everything has arrived and every call was answered. */
  end(paths: ReadonlyArray<string>): void {
    this.callers.end()
    for (const path of paths) {
      const status = this.case.evidence.world.connections.get(path)?.connection.status
      this.case.count(
        `ends: ${status?._tag ?? "none"}${status !== undefined && "reason" in status ? ` ${status.reason}` : ""}`
      )
    }
    this.redemptions.end(this.lives.ended)
    this.lives.end()
    this.flows.end()
  }

  /** Whether a key that was asked for at the end is as its answer says. */
  settled(path: string, answer: "token" | string): void {
    const { stage, world } = this.case.evidence
    const row = world.connections.get(path)
    const tag = row?.connection.status._tag
    const expected = tag === "active"
      ? "token"
      : tag === "needs_reauth"
      ? "reauthorization_required"
      : "connection_not_found"
    if (answer !== expected) {
      this.case.broken("I21", `a connection that is ${tag ?? "gone"} answers ${answer} to the end`)
    } else if (answer === "token" && row !== undefined && row.phase !== "idle" && row.leaseUntil > stage.now) {
      this.case.broken("I7", `a row stays ${row.phase}`)
    }
  }
}
