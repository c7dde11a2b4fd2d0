import { Context, type Effect, type Scope } from "effect"
import type { ConnectionKey } from "./Connection.ts"
import type { FlowId } from "./Flow.ts"
import type { TenantId } from "./Tenant.ts"

/** What changed: the name of a row whose latest state is worth re-reading. Carries no data. */
export type Topic = string

/** The topic of a flow's settling. */
export const flowTopic = (id: FlowId): Topic => `flow:${id}`

/** The topic of a connection's new credentials or status. */
export const connectionTopic = (key: ConnectionKey): Topic => `connection:${key.path}`

/** The topic of a tenant's deletion. */
export const tenantTopic = (tenant: TenantId): Topic => `tenant:${encodeURIComponent(tenant)}`

/**
 * Port: hints between fibers and replicas that a row changed. A signal may be lost, repeated or late; whoever waits
 * re-reads the row and keeps a slow poll behind the signal.
 */
export class Signals extends Context.Service<Signals, {
  /** Tells every subscriber on every replica, best effort. Called after the commit. Never fails and never blocks on a subscriber. */
  notify(topic: Topic): Effect.Effect<void>
  /** Tells the subscribers of this process alone: for what the store told the other replicas with its commit. */
  wake(topic: Topic): Effect.Effect<void>
  /** Subscribes now, for the life of the scope. The returned effect completes at the first signal after the subscription. */
  subscribe(topic: Topic): Effect.Effect<Effect.Effect<void>, never, Scope.Scope>
  /** Calls `observer` at once with every signal of this and other replicas, for the life of the scope. It must be quick and not throw. */
  observe(observer: (topic: Topic) => void): Effect.Effect<void, never, Scope.Scope>
  /** Calls `listener` for every signal of this and other replicas, for the life of the scope. */
  listen(listener: (topic: Topic) => Effect.Effect<void>): Effect.Effect<void, never, Scope.Scope>
}>()("@valetkey/domain/Signals") {}
