import { Effect, Metric } from "effect"
import { type AuditRecord, AuditTrail } from "../AuditTrail.ts"
import * as Instruments from "../Instruments.ts"

/** Builds the recording of one event, which is also counted; a log that cannot be written never fails what was done. */
export const makeAuditing = Effect.map(
  AuditTrail,
  (trail) =>
  (
    key: AuditRecord["key"],
    action: AuditRecord["action"],
    outcome: string,
    generation?: number,
    secret?: AuditRecord["secret"],
    answer?: string
  ): Effect.Effect<void> =>
    Effect.andThen(count(action, outcome), trail.record({ key, action, outcome, generation, secret, answer }))
)

const count = (action: AuditRecord["action"], outcome: string): Effect.Effect<void> => {
  switch (action) {
    case "flow.started":
      return Metric.update(Instruments.flowStarted(outcome), 1)
    case "flow.settled":
      return Metric.update(Instruments.flowSettled(outcome), 1)
    case "token.refreshed":
    case "token.refresh_failed":
      return Metric.update(Instruments.refreshed(outcome), 1)
    case "connection.revoked":
      return Metric.update(Instruments.revoked(outcome), 1)
    case "connection.account_replaced":
    case "flow.grant_left":
    case "flow.handed_off":
    case "connection.deposited":
    case "connection.disconnected":
    case "connection.ending":
    case "connection.exported":
    case "connection.forgotten":
    case "connection.needs_consent":
    case "connection.prepared":
    case "connection.rolled_back":
    case "server.stored":
    case "server.removed":
    case "api_key.created":
    case "api_key.revoked":
    case "root_key.added":
    case "root_key.promoted":
    case "root_key.rewrapped":
    case "root_key.retired":
    case "console.link_created":
    case "console.signed_in":
    case "console.signed_out":
    case "instance.taken_over":
    case "tenant.deletion_requested":
    case "tenant.allowed":
    case "audit.pruned":
      return Effect.void
  }
}
