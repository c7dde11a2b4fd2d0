import type { RedemptionPolicy } from "@valetkey/domain/Server"
import type { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import type { Provider } from "./Provider.ts"
import type { Stage } from "./Stage.ts"
import type { Vault } from "./Vault.ts"

/** What a history broke. */
export interface Violation {
  readonly invariant: string
  readonly what: string
}

/** What there is to look at of a history. */
export interface Evidence {
  /** Whether nothing was done to anybody: no fault, no death, no stop, no time that passed over a call. */
  readonly calm: boolean
  readonly policy: RedemptionPolicy
  readonly stage: Stage
  readonly vault: Vault
  readonly world: MemoryWorld["Service"]
  readonly provider: Provider
}

/** One history on trial; its first violation stays. */
export class Case {
  violation: Violation | undefined
  readonly evidence: Evidence

  constructor(evidence: Evidence) {
    this.evidence = evidence
  }

  broken(invariant: string, what: string): void {
    this.violation ??= { invariant, what }
  }

  /** Notes that something took place. */
  count(what: string): void {
    this.evidence.stage.count(what)
  }
}
