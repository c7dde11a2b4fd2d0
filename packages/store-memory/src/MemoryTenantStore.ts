import type { TenantId } from "@valetkey/domain/Tenant"
import { TenantStore } from "@valetkey/domain/TenantStore"
import { DateTime, Duration, Effect, Layer, Option } from "effect"
import { atomically } from "./internal/atomically.ts"
import * as ConnectionRows from "./internal/connectionRows.ts"
import * as FlowRows from "./internal/flowRows.ts"
import { MemoryWorld } from "./MemoryWorld.ts"

/** Layer of `TenantStore` over the shared state. */
export const layer: Layer.Layer<TenantStore, never, MemoryWorld> = Layer.effect(
  TenantStore,
  Effect.map(MemoryWorld, (world) => {
    const connectedOf = (tenant: TenantId) =>
      [...world.connections.values()].map(({ connection }) => connection)
        .filter(({ key, status }) => key.tenant === tenant && status._tag !== "revoking")
    const owedOf = (tenant: TenantId) =>
      [...world.outbox.values()].filter(({ revocation }) => revocation.key.tenant === tenant)

    return TenantStore.of({
      begin: (tenant) =>
        atomically((now) => {
          if (world.deletions.has(tenant)) return []
          const flows = [...world.flows.values()].filter(({ flow }) => flow.key.tenant === tenant)
          const connections = [...world.connections.values()].filter(({ connection }) =>
            connection.key.tenant === tenant
          )
          const leases = [
            ...flows.filter(({ flow }) => flow.state === "exchanging"),
            ...connections.filter(({ phase }) => phase !== "idle")
          ].map(({ leaseUntil }) => leaseUntil)
          // What is doubtful may be a poll under way.
          for (const { device } of flows) if (device?.doubtful === true) leases.push(device.dueAt)
          const ended = flows.filter((row) => FlowRows.settle(world, row, "cancelled", now))
          for (const row of connections) {
            const { _tag } = row.connection.status
            if (_tag !== "active" && _tag !== "needs_reauth") continue
            const connection = { ...row.connection, status: { _tag: "quarantined" as const } }
            ConnectionRows.update(world, { ...row, phase: "idle", leaseUntil: 0 }, connection, now)
          }
          for (const rows of [world.registrations, world.registrationTurns, world.servers]) removeRows(rows, tenant)
          for (const [id, { key }] of world.apiKeys) if (key.tenant === tenant) world.apiKeys.delete(id)
          for (const [id, { session }] of world.consoles) if (session.tenant === tenant) world.consoles.delete(id)
          world.deletions.set(tenant, { requestedAt: now, quietAt: Math.max(now, ...leases), deletedAt: undefined })
          return ended.map(({ flow }) => flow.id)
        }),

      find: (tenant) =>
        Effect.sync(() =>
          Option.map(Option.fromUndefinedOr(world.deletions.get(tenant)), ({ deletedAt, requestedAt }) => ({
            tenant,
            requestedAt: DateTime.makeUnsafe(requestedAt),
            deletedAt: deletedAt === undefined ? undefined : DateTime.makeUnsafe(deletedAt),
            connections: connectedOf(tenant).length,
            revocations: owedOf(tenant).length
          }))
        ),

      isMarked: (tenant) => Effect.sync(() => world.deletions.has(tenant)),

      unfinished: Effect.sync(() =>
        [...world.deletions].filter(([, { deletedAt }]) => deletedAt === undefined).map(([tenant]) => tenant)
      ),

      connected: (tenant, limit) => Effect.sync(() => connectedOf(tenant).slice(0, limit).map(({ key }) => key)),

      erase: (tenant, { limit, patience }) =>
        atomically((now) => {
          const deletion = world.deletions.get(tenant)
          if (deletion === undefined || deletion.deletedAt !== undefined) return "waiting" as const
          const isQuiet = deletion.quietAt <= now && owedOf(tenant).length === 0 && connectedOf(tenant).length === 0
          if (!isQuiet && deletion.requestedAt > now - Duration.toMillis(patience)) return "waiting" as const
          const connections = [...world.connections.values()].filter(({ connection }) =>
            connection.key.tenant === tenant
          ).slice(0, limit)
          for (const { connection } of connections) world.connections.delete(connection.key.path)
          if (connections.length === limit) return "more" as const
          for (const [id, { flow }] of world.flows) if (flow.key.tenant === tenant) world.flows.delete(id)
          for (const index of [world.states, world.tickets]) {
            for (const [digest, id] of index) if (!world.flows.has(id)) index.delete(digest)
          }
          for (const { revocation } of owedOf(tenant)) world.outbox.delete(revocation.id)
          for (const [id, { key }] of world.receipts) if (key.tenant === tenant) world.receipts.delete(id)
          for (const [name, mark] of world.forgotten) if (mark.tenant === tenant) world.forgotten.delete(name)
          for (const [name, endpoint] of world.endpoints) if (endpoint.tenant === tenant) world.endpoints.delete(name)
          removeRows(world.clientDocuments, tenant)
          world.tenantKeys.delete(tenant)
          world.deletions.set(tenant, { ...deletion, deletedAt: now })
          return "deleted" as const
        }),

      allow: (tenant) =>
        atomically((now) => {
          const deletion = world.deletions.get(tenant)
          if (deletion?.deletedAt !== undefined) {
            world.deletions.delete(tenant)
            world.allowances.set(tenant, now)
          }
          return deletion === undefined || deletion.deletedAt !== undefined
        })
    })
  })
)

/** Removes the rows whose path begins with the tenant. */
const removeRows = (rows: Map<string, unknown>, tenant: TenantId): void => {
  for (const path of rows.keys()) if (path.startsWith(`${encodeURIComponent(tenant)}/`)) rows.delete(path)
}
