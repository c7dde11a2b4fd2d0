import { answered, fresh, inTime, isolated } from "./AnswerChecks.ts"
import { type Evidence, gather, type Violation } from "./Evidence.ts"
import { healed } from "./HealingChecks.ts"
import type { History } from "./History.ts"
import { keptThroughFaults } from "./KeepingChecks.ts"
import { asIfOne, lineage, obedient } from "./LineageChecks.ts"
import { nobodyAskedInVain, nothingLost, redeemedOnce } from "./RedemptionChecks.ts"
import { refusedTruly } from "./RefusalChecks.ts"
import { leftAlone } from "./SilenceChecks.ts"

/** What is checked, by the guarantees that it belongs to. */
const checks: Readonly<Record<string, (evidence: Evidence) => ReadonlyArray<Violation>>> = {
  "I1 redeemed as often as the policy says": redeemedOnce,
  "I3 nothing lost": nothingLost,
  "I3 kept through faults": keptThroughFaults,
  "I4 generations and lives": lineage,
  "I4 I23 obedient to the person": obedient,
  "I5 nobody asked in vain": nobodyAskedInVain,
  "I5 I20 refused truly": refusedTruly,
  "I6 fresh": fresh,
  "I6 left alone": leftAlone,
  "I7 in time": inTime,
  "I10 isolated": isolated,
  "I19 answered": answered,
  "I20 as if one": asIfOne,
  "I21 healed": healed
}

/** What one check made of a history. */
export interface Finding {
  readonly check: string
  readonly violations: ReadonlyArray<Violation>
}

/** Holds a history against every guarantee that it can break. */
export const judge = (history: History): ReadonlyArray<Finding> => {
  const evidence = gather(history)
  return Object.entries(checks).map(([check, find]) => ({ check, violations: find(evidence) }))
}
