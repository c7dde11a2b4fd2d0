import { Context, type DateTime, Effect, Layer } from "effect"
import type { AuditEntry } from "./AuditEvent.ts"
import { AuditLog } from "./AuditLog.ts"
import type { ConnectionKey } from "./Connection.ts"
import type { Digest } from "./Entropy.ts"
import type { ServerSlug } from "./Server.ts"
import type { StoreError } from "./StoreError.ts"
import type { SubjectId } from "./Subject.ts"
import type { TenantId } from "./Tenant.ts"

/** A part of what became of a connection, the latest first. */
export interface HistoryPage {
  readonly events: ReadonlyArray<AuditEntry>
  /** What to ask for as `before` to see what was earlier; absent at the beginning of the record. */
  readonly next: Digest | undefined
}

/**
 * Use case: what became of a person's connections, as the audit log has it. What retention removed is not there any more,
 * and a use shows up to a minute later, because uses are counted in memory first.
 */
export class Histories extends Context.Service<Histories, {
  /** Consents, refreshes, refusals and what they led to; never a secret. */
  of(
    key: ConnectionKey,
    page: { readonly before: Digest | undefined; readonly limit: number }
  ): Effect.Effect<HistoryPage, StoreError>
  /** When tokens of the subject's connections were last handed out, where that is known. */
  lastUses(
    owner: { readonly tenant: TenantId; readonly subject: SubjectId },
    servers: ReadonlyArray<ServerSlug>
  ): Effect.Effect<ReadonlyMap<ServerSlug, DateTime.Utc>, StoreError>
}>()("@valetkey/domain/Histories") {
  /** Layer of the use case. */
  static readonly layer: Layer.Layer<Histories, never, AuditLog> = Layer.effect(
    Histories,
    Effect.map(AuditLog, (log) =>
      Histories.of({
        of: ({ server, subject, tenant }, { before, limit }) =>
          Effect.map(log.history({ tenant, subject, server, before, limit: limit + 1 }), (found) => {
            const events = found.slice(0, limit)
            return { events, next: found.length > limit ? events.at(-1)?.hash : undefined }
          }),
        lastUses: ({ subject, tenant }, servers) =>
          servers.length === 0 ? Effect.succeed(new Map()) : log.lastUses({ tenant, subject, servers })
      }))
  )
}
