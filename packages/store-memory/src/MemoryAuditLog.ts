import * as AuditChain from "@valetkey/domain/AuditChain"
import type { AuditEntry, AuditEvent } from "@valetkey/domain/AuditEvent"
import { AuditLog } from "@valetkey/domain/AuditLog"
import { Digest } from "@valetkey/domain/Entropy"
import type { TenantId } from "@valetkey/domain/Tenant"
import { DateTime, Duration, Effect, Layer } from "effect"
import { hash } from "node:crypto"
import { atomically } from "./internal/atomically.ts"
import { MemoryWorld } from "./MemoryWorld.ts"

/** Layer of `AuditLog` over the shared state; read the events in `MemoryWorld.audit`. */
export const layer: Layer.Layer<AuditLog, never, MemoryWorld> = Layer.effect(
  AuditLog,
  Effect.map(MemoryWorld, ({ audit, auditHeads }) => {
    const appendOwn = (tenant: TenantId, events: ReadonlyArray<AuditEvent>, now: number): void => {
      const head = auditHeads.get(tenant) ?? AuditChain.empty
      const entries = AuditChain.link(hasher, head, events, now)
      audit.push(...entries)
      const { hash, seq } = entries.at(-1)!
      auditHeads.set(tenant, { ...head, seq, hash })
    }

    return AuditLog.of({
      append: (events) =>
        atomically((now) => {
          for (const [tenant, own] of AuditChain.byTenant(events)) appendOwn(tenant, own, now)
        }),

      read: ({ after, limit, tenant }) =>
        atomically(() =>
          audit.filter((entry) => entry.tenant === tenant && entry.seq > after)
            .sort((one, other) => one.seq - other.seq)
            .slice(0, limit)
        ),

      history: ({ before, limit, server, subject, tenant }) =>
        atomically(() => {
          const own = audit.filter((entry) =>
            entry.tenant === tenant && entry.subject === subject && entry.server === server &&
            entry.action !== "token.read" && !entry.action.startsWith("server.")
          ).sort((one, other) => other.seq - one.seq)
          if (before === undefined) return own.slice(0, limit)
          const place = own.findIndex(({ hash }) => hash === before)
          return place === -1 ? [] : own.slice(place + 1, place + 1 + limit)
        }),

      lastUses: ({ servers, subject, tenant }) =>
        atomically(() =>
          new Map(
            audit.filter((entry) =>
              entry.tenant === tenant && entry.subject === subject && entry.action === "token.read"
            ).sort((one, other) => one.seq - other.seq).flatMap(({ at, server }) =>
              server !== undefined && servers.includes(server) ? [[server, at] as const] : []
            )
          )
        ),

      head: (tenant) => atomically(() => auditHeads.get(tenant) ?? AuditChain.empty),

      prune: ({ limit, olderThan }) =>
        atomically((now) => {
          const kept: Array<AuditEntry> = []
          const removed = new Map<TenantId, number>()
          for (const entry of audit) {
            const count = removed.get(entry.tenant) ?? 0
            const head = auditHeads.get(entry.tenant)
            const old = DateTime.toEpochMillis(entry.at) < now - Duration.toMillis(olderThan)
            if (head === undefined || !old || count >= limit || entry.seq !== head.anchor.seq + 1) {
              kept.push(entry)
              continue
            }
            removed.set(entry.tenant, count + 1)
            auditHeads.set(entry.tenant, { ...head, anchor: { seq: entry.seq, hash: entry.hash } })
          }
          audit.splice(0, audit.length, ...kept)
          for (const [tenant, count] of removed) appendOwn(tenant, [AuditChain.prunedEvent(tenant, count)], now)
          return [...removed].map(([tenant, count]) => ({ tenant, removed: count }))
        })
    })
  })
)

const hasher: AuditChain.Hasher = (text) => Digest.make(hash("sha256", text, "base64url"))
