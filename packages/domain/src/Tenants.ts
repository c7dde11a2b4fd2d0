import { Context, type DateTime, Duration, Effect, Layer, Metric, Option, Schedule, Schema } from "effect"
import { reach } from "./Checkpoint.ts"
import type { CipherError } from "./Cipher.ts"
import { type ConnectionKey, Epoch } from "./Connection.ts"
import { ConnectionStore } from "./ConnectionStore.ts"
import { Entropy } from "./Entropy.ts"
import * as Instruments from "./Instruments.ts"
import { flowTopic, Signals, tenantTopic } from "./Signals.ts"
import type { StoreError } from "./StoreError.ts"
import type { TenantId } from "./Tenant.ts"
import { TenantStore } from "./TenantStore.ts"

const batch = 100
const rows = 1000
const defaultPatience = Duration.hours(1)

/** Error of a call for a tenant that was deleted. */
export class TenantDeleted extends Schema.TaggedError<TenantDeleted>("valetkey/TenantDeleted")("TenantDeleted", {}) {
  readonly code = "tenant_deleted" as const
  override get message() {
    return "The tenant was deleted; an operator may let its name be used again with valetkey tenants allow"
  }
}

/** Error of lifting the tombstone of a tenant of which something is left. */
export class TenantDeleting
  extends Schema.TaggedError<TenantDeleting>("valetkey/TenantDeleting")("TenantDeleting", {})
{
  readonly code = "tenant_deleting" as const
  override get message() {
    return "The deletion of the tenant is not finished; wait until its status says deleted"
  }
}

/** A tenant as an operator sees it. Whether one that was never deleted has anything is not told. */
export interface TenantStatus {
  readonly tenant: TenantId
  readonly state: "active" | "deleting" | "deleted"
  readonly requestedAt?: DateTime.Utc | undefined
  readonly deletedAt?: DateTime.Utc | undefined
  /** Connections whose tokens are not in the outbox yet. */
  readonly connections: number
  /** Revocations that are still owed to authorization servers. */
  readonly revocations: number
}

/** Use case: the end of a tenant. Every step is durable; whoever comes next goes on. */
export class Tenants extends Context.Service<Tenants, {
  readonly status: (tenant: TenantId) => Effect.Effect<TenantStatus, StoreError>
  /**
   * Refuses the tenant on every replica at once and begins to remove everything that it has. Idempotent, also for a
   * tenant that is gone; works without a key.
   */
  readonly remove: (tenant: TenantId) => Effect.Effect<TenantStatus, CipherError | StoreError>
  /** Lets the name of a deleted tenant be used again, by a tenant that has nothing of the former one. Idempotent. */
  readonly allow: (tenant: TenantId) => Effect.Effect<void, CipherError | TenantDeleting | StoreError>
  /** Fails for a tenant that is being deleted or was. */
  readonly admitted: (tenant: TenantId) => Effect.Effect<void, TenantDeleted | StoreError>
  /** Goes on with every deletion that is not finished; returns how many tenants are gone now. Safe from all replicas at once. */
  readonly proceed: Effect.Effect<number, StoreError>
}>()("@valetkey/domain/Tenants") {
  /** Layer of the use case; nothing runs by itself. Revocations are waited for no longer than `patience`, by default an hour. */
  static readonly layer = (
    options?: { readonly patience?: Duration.Input | undefined }
  ): Layer.Layer<Tenants, never, ConnectionStore | Entropy | Signals | TenantStore> =>
    Layer.effect(
      Tenants,
      Effect.gen(function*() {
        const store = yield* TenantStore
        const connections = yield* ConnectionStore
        const signals = yield* Signals
        const entropy = yield* Entropy
        const patience = Duration.fromInputUnsafe(options?.patience ?? defaultPatience)

        const status = Effect.fnUntraced(function*(tenant: TenantId) {
          const found = yield* store.find(tenant)
          if (Option.isNone(found)) {
            return { tenant, state: "active", connections: 0, revocations: 0 } satisfies TenantStatus
          }
          const { connections, deletedAt, requestedAt, revocations } = found.value
          return {
            tenant,
            state: deletedAt === undefined ? "deleting" : "deleted",
            requestedAt,
            deletedAt,
            connections,
            revocations
          } satisfies TenantStatus
        })

        /** Owes the revocation of a connection's tokens. False when it could not; one does not keep the others. */
        const disconnect = Effect.fnUntraced(
          function*(key: ConnectionKey) {
            yield* connections.disconnect(key, Epoch.make(yield* entropy.id))
            return true
          },
          Effect.catch((error) =>
            Effect.as(Effect.logWarning("a connection of a deleted tenant is not ended", error), false)
          )
        )

        const proceedWith = Effect.fnUntraced(function*(tenant: TenantId) {
          let keys = yield* store.connected(tenant, batch)
          // Whoever marked it may have died before it came to every connection.
          if (keys.length > 0) yield* store.begin(tenant)
          while (keys.length > 0) {
            const owed = yield* Effect.forEach(keys, disconnect)
            yield* reach("tenant.owed")
            // Those that cannot be read stay, and are removed with the rest when the patience ends.
            if (!owed.includes(true)) break
            keys = yield* store.connected(tenant, batch)
          }
          while (true) {
            const outcome = yield* store.erase(tenant, { patience, limit: rows })
            if (outcome === "more") {
              yield* reach("tenant.erasing")
              continue
            }
            if (outcome === "waiting") return 0
            yield* signals.notify(tenantTopic(tenant))
            yield* Effect.logInfo("a tenant is deleted")
            return 1
          }
        })

        return Tenants.of({
          status,
          remove: Effect.fn("Tenants.remove")(function*(tenant) {
            const ended = yield* store.begin(tenant)
            yield* reach("tenant.marked")
            yield* signals.notify(tenantTopic(tenant))
            yield* Effect.forEach(ended, (id) => signals.notify(flowTopic(id)), { discard: true })
            return yield* status(tenant)
          }),
          allow: Effect.fn("Tenants.allow")(function*(tenant) {
            if (!(yield* store.allow(tenant))) return yield* new TenantDeleting()
          }),
          admitted: (tenant) =>
            Effect.flatMap(store.isMarked(tenant), (marked) => marked ? Effect.fail(new TenantDeleted()) : Effect.void),
          proceed: Effect.gen(function*() {
            let deleted = 0
            for (const tenant of yield* store.unfinished) {
              deleted += yield* proceedWith(tenant).pipe(
                // One tenant whose rows cannot be removed does not keep the others.
                Effect.catch((error) => Effect.as(Effect.logWarning("a tenant is not deleted yet", error), 0))
              )
            }
            return deleted
          })
        })
      })
    )

  /** Layer that proceeds at its pace until the scope ends; a failed round is logged and the next one comes. */
  static readonly layerSchedule = (
    options?: { readonly every?: Duration.Input }
  ): Layer.Layer<never, never, Tenants> =>
    Layer.effectDiscard(Effect.gen(function*() {
      const { proceed } = yield* Tenants
      yield* proceed.pipe(
        Effect.tap(() => Metric.update(Instruments.housekeepingRound("deletions", "ok"), 1)),
        Effect.catchCause((cause) =>
          Effect.andThen(
            Metric.update(Instruments.housekeepingRound("deletions", "failed"), 1),
            Effect.logWarning("housekeeping failed: tenants", cause)
          )
        ),
        Effect.repeat(Schedule.jittered(Schedule.spaced(options?.every ?? "2 seconds"))),
        Effect.forkScoped
      )
    }))
}
