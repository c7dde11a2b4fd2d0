import { Effect } from "effect"
import { type AuditRecord, AuditTrail } from "../AuditTrail.ts"
import type { ConnectionKey } from "../Connection.ts"

/** Builds the recording of one event; a log that cannot be written never fails what was done. */
export const makeAuditing = Effect.map(
  AuditTrail,
  (trail) =>
  (
    key: ConnectionKey,
    action: AuditRecord["action"],
    outcome: string,
    generation?: number,
    secret?: AuditRecord["secret"]
  ): Effect.Effect<void> => trail.record({ key, action, outcome, generation, secret })
)
