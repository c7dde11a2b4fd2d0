import { Context, type Effect, Schema } from "effect"
import { ServerSlug } from "./Server.ts"
import type { StoreError } from "./StoreError.ts"
import { SubjectId } from "./Subject.ts"
import { TenantId } from "./Tenant.ts"

/** Schema for one event worth keeping: who did what to which connection. Never a secret. */
export const AuditEvent = Schema.Struct({
  tenant: TenantId,
  subject: SubjectId,
  server: ServerSlug,
  action: Schema.Literals([
    "flow.started",
    "flow.settled",
    "token.refreshed",
    "token.refresh_failed",
    "connection.deposited",
    "connection.disconnected",
    "connection.revoked"
  ]),
  /** A stable code that tells the outcome. */
  outcome: Schema.String,
  generation: Schema.optionalKey(Schema.Natural)
})
export type AuditEvent = typeof AuditEvent.Type

/** Port: the append-only record of what was done. */
export class AuditLog extends Context.Service<AuditLog, {
  /** Appends one event with the store's clock. Events of one process keep their order. */
  append(event: AuditEvent): Effect.Effect<void, StoreError>
}>()("@valetkey/domain/AuditLog") {}
