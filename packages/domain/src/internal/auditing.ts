import { Effect } from "effect"
import { type AuditEvent, AuditLog } from "../AuditLog.ts"
import type { ConnectionKey } from "../Connection.ts"

/** Builds the recording of one event; a log that cannot be written never fails what was done. */
export const makeAuditing = Effect.map(
  AuditLog,
  (log) =>
  (key: ConnectionKey, action: AuditEvent["action"], outcome: string, generation?: number): Effect.Effect<void> =>
    log.append({
      tenant: key.tenant,
      subject: key.subject,
      server: key.server,
      action,
      outcome,
      ...(generation === undefined ? {} : { generation })
    }).pipe(Effect.catchCause((cause) => Effect.logWarning("audit event not stored", cause)))
)
