import { Context, type Duration, type Effect } from "effect"
import type { Admission, EndpointAnswer } from "./Pacing.ts"
import type { StoreError } from "./StoreError.ts"
import type { TenantId } from "./Tenant.ts"

/** A token endpoint as one tenant uses it. What one tenant's clients bring about there keeps no other tenant away. */
export interface PacedEndpoint {
  readonly tenant: TenantId
  readonly tokenEndpoint: string
}

/**
 * Port: what replicas have to agree on before a token endpoint is asked. Health belongs to a tenant; slots belong to the
 * provider, whoever its clients are, and hold nothing of a tenant.
 */
export class PacingStore extends Context.Service<PacingStore, {
  /**
   * Whether a request may be sent now, by `Pacing.decideAdmission`. Of any number of callers on any number of replicas one
   * is told to probe, until its lease ends. `healthy` when nothing is stored of the endpoint.
   */
  admit(
    endpoint: PacedEndpoint,
    input: { readonly lease: Duration.Duration }
  ): Effect.Effect<{ readonly admission: Admission; readonly healthy: boolean }, StoreError>
  /**
   * Records what a request has shown, by `Pacing.decideAnswer`, in one atomic step. `healthy` when nothing has to be known
   * of the endpoint from now on; `changed` when that is another state than before. Good news of an endpoint of which
   * nothing is stored writes nothing. Bad news forgets what is past of the tenant's other endpoints, by `Pacing.isPast`.
   */
  report(
    endpoint: PacedEndpoint,
    answer: EndpointAnswer
  ): Effect.Effect<{ readonly healthy: boolean; readonly changed: boolean }, StoreError>
  /**
   * Takes free slots of a provider, at most `count`; one whose lease ended is free, or ends later than any does
   * (`Pacing.longestSlot`). Of the slots 1 to `cap` none has two holders at a time, unless the clock is set back that far.
   */
  acquire(input: {
    readonly provider: string
    readonly holder: string
    readonly cap: number
    readonly count: number
    readonly lease: Duration.Duration
  }): Effect.Effect<ReadonlyArray<number>, StoreError>
  /** Frees a slot, if the holder still has it. Idempotent. */
  release(input: {
    readonly provider: string
    readonly holder: string
    readonly slot: number
  }): Effect.Effect<void, StoreError>
}>()("@valetkey/domain/PacingStore") {}
