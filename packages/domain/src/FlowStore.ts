import { Context, type DateTime, type Duration, type Effect, type Option, Schema } from "effect"
import type { ConnectionKey, Epoch, Grant, SealedCredentials } from "./Connection.ts"
import type { Digest } from "./Entropy.ts"
import type {
  Confirmation,
  Flow,
  FlowFailure,
  FrozenAuthorization,
  FrozenTicket,
  FrozenWay,
  OnConflict,
  TransportKind
} from "./Flow.ts"
import { FlowId } from "./Flow.ts"
import type { Sealed } from "./Sealed.ts"
import type { StoreError } from "./StoreError.ts"
import type { SubjectId } from "./Subject.ts"
import type { TenantId } from "./Tenant.ts"

/** Error of a start while another flow of the connection is open. */
export class FlowConflict extends Schema.TaggedError<FlowConflict>("valetkey/FlowConflict")("FlowConflict", {
  running: FlowId
}) {
  readonly code = "flow_conflict" as const
  override get message() {
    return "A flow of this connection is still open; wait for it, cancel it, or start with onConflict join or supersede"
  }
}

/** Error of naming a flow that the caller does not have. */
export class FlowNotFound extends Schema.TaggedError<FlowNotFound>("valetkey/FlowNotFound")("FlowNotFound", {}) {
  readonly code = "flow_not_found" as const
  override get message() {
    return "There is no such flow: it was never started, its record has expired, or it belongs to another user or instance; start another"
  }
}

/** Error of a start whose flow was cancelled, superseded or expired before it was ready. Nothing stays open. */
export class FlowPreempted extends Schema.TaggedError<FlowPreempted>("valetkey/FlowPreempted")("FlowPreempted", {
  id: FlowId
}) {
  readonly code = "flow_preempted" as const
  override get message() {
    return "The flow was cancelled or superseded while it was starting; start again if it is still wanted"
  }
}

/** A flow that this caller alone may take further, with what was frozen at start. `fence` makes every older claim's writes void. */
export interface ClaimedFlow {
  readonly id: FlowId
  readonly key: ConnectionKey
  readonly fence: number
  readonly transport: TransportKind
  readonly confirmation: Confirmation
  readonly authorization: FrozenAuthorization
}

/** A flow with the sealed code that waits for its embedding application. */
export interface HeldFlow {
  readonly flow: ClaimedFlow
  readonly code: Sealed
}

/** The flow that a connect ticket leads to, with whom it is bound to. */
export interface TicketedFlow {
  readonly flow: Flow
  readonly stateHash: Digest
  readonly bindingHash?: Digest | undefined
}

/** What a start decided, when it was all decided before the reservation. */
export interface Frozen {
  readonly authorization: FrozenAuthorization
  readonly ticket?: FrozenTicket | undefined
}

/** What a reservation gives: a new flow that holds the slot, or the running one that the caller joins. */
export type Reservation =
  | { readonly _tag: "Reserved"; readonly flow: Flow; readonly superseded?: FlowId | undefined }
  | { readonly _tag: "Joined"; readonly flow: Flow }

/** The connection that a completing flow writes, sealed for the epoch and generation that the caller chose. */
export interface ConnectionWrite {
  readonly epoch: Epoch
  /** The generation that the store must still hold (0 when there is no connection row); the new one is `previous + 1`. */
  readonly previous: number
  readonly grant: Grant
  readonly clientSecret?: Sealed | undefined
  readonly credentials: SealedCredentials
  /** Whose credentials they are; absent when nobody said. Takes the place of what was known. */
  readonly account?: Sealed | undefined
  /** When the grant was given; absent, it is given now. */
  readonly grantedAt?: DateTime.Utc | undefined
}

/** The result of completing: done, with the flow as it is now, or the generation moved (seal again), or the flow is not this claim's any more (drop the tokens). */
export type Completion =
  | { readonly _tag: "Completed"; readonly flow: Flow }
  | { readonly _tag: "GenerationMoved"; readonly current: number }
  | { readonly _tag: "ClaimLost" }

/** Port: flows. Durations are counted on the store's clock, so replicas need not agree on the time. */
export class FlowStore extends Context.Service<FlowStore, {
  /**
   * Takes the connection's slot in one atomic step: at most one flow per connection is open, whatever races. An open flow
   * past its deadline is expired first. `supersede` settles the running one as `superseded` in the same step. With
   * `frozen` the new flow is frozen in this step too, as by `freeze`; durable when it returns. One that fails, or whose
   * caller leaves, is not felt by those that are made at the same time.
   */
  reserve(input: {
    readonly id: FlowId
    readonly key: ConnectionKey
    readonly transport: TransportKind
    readonly confirmation: Confirmation
    readonly onConflict: OnConflict
    readonly ttl: Duration.Duration
    readonly frozen?: Frozen | undefined
  }): Effect.Effect<Reservation, FlowConflict | StoreError>
  /** Records what `start` decided; durable when it returns. False when the flow is not pending any more. Called once per flow. */
  freeze(id: FlowId, frozen: FrozenWay, ticket?: FrozenTicket): Effect.Effect<boolean, StoreError>
  /**
   * Puts another way to the consent in place of the frozen one, in one atomic step: the flow keeps its id, its slot and its
   * deadline, and nothing of the former way matches it any more, be it a state, a ticket, a browser or a poll under way.
   * False when the flow is not pending or was handed off more than `handOffs` times meanwhile; then nothing changed. Of
   * any number of calls with the same count one succeeds.
   */
  handOff(
    id: FlowId,
    to: { readonly handOffs: number; readonly transport: TransportKind },
    frozen: FrozenWay,
    ticket?: FrozenTicket
  ): Effect.Effect<boolean, StoreError>
  /** The flow of a ticket, whatever became of it, if it began within the last `within`. Reading changes nothing. */
  findByTicket(input: {
    readonly ticketHash: Digest
    readonly within: Duration.Duration
  }): Effect.Effect<Option.Option<TicketedFlow>, StoreError>
  /**
   * Binds a ticket's flow to a browser in one atomic step with every predicate in it: pending, not expired, begun
   * within the last `within`, and bound to nobody or to this very browser. None means that nothing matched and nothing
   * changed. Of any number of browsers one gets the flow, and that one as often as it asks.
   */
  bind(input: {
    readonly ticketHash: Digest
    readonly bindingHash: Digest
    readonly within: Duration.Duration
  }): Effect.Effect<Option.Option<{ readonly flow: Flow; readonly authorizationUrl: Sealed }>, StoreError>
  /**
   * `pending → exchanging` in one atomic step with every predicate in it: state, binding (both absent or equal; a flow
   * with a ticket has to have one), context, not expired. None means that nothing matched and nothing changed. Of any
   * number of calls one gets the flow. The authorization URL is forgotten.
   */
  claim(input: {
    readonly stateHash: Digest
    readonly bindingHash: Digest | undefined
    readonly context: string
    readonly lease: Duration.Duration
  }): Effect.Effect<Option.Option<ClaimedFlow>, StoreError>
  /** `exchanging → awaiting_finalize` with the sealed code, if the claim still holds. From then on the flow lives for `ttl`. */
  hold(id: FlowId, fence: number, held: {
    readonly code: Sealed
    readonly completionHash: Digest
    readonly ttl: Duration.Duration
  }): Effect.Effect<boolean, StoreError>
  /**
   * What is held of the response that brought it: awaiting finalize, not expired, and state, binding and context as in
   * `claim`. Reading changes nothing.
   */
  held(input: {
    readonly stateHash: Digest
    readonly bindingHash: Digest | undefined
    readonly context: string
  }): Effect.Effect<Option.Option<HeldFlow>, StoreError>
  /**
   * `awaiting_finalize → exchanging` for its owner alone and with its completion code alone; the sealed code comes back
   * once. None means that nothing matched and nothing changed.
   */
  resume(input: {
    readonly id: FlowId
    readonly tenant: TenantId
    readonly subject: SubjectId
    readonly completionHash: Digest
    readonly lease: Duration.Duration
  }): Effect.Effect<Option.Option<HeldFlow>, StoreError>
  /**
   * Credentials, flow and connection change in one transaction or not at all: `exchanging → completed` if the fence still
   * holds, and the connection becomes `active` at `previous + 1` with a new epoch if its generation is still `previous`.
   * Other replicas hear the flow's topic with the commit; this process is woken by the caller.
   */
  complete(id: FlowId, fence: number, write: ConnectionWrite): Effect.Effect<Completion, StoreError>
  /**
   * Settles a claimed flow as failed or `outcome_unknown`, if the fence still holds. True again when it is settled so under
   * this fence: the answer to its commit may have been lost. False means somebody else settled it.
   * Other replicas hear of it as of `complete`.
   */
  fail(id: FlowId, fence: number, failure: FlowFailure | "outcome_unknown"): Effect.Effect<boolean, StoreError>
  /** Settles a flow that `start` could not finish as `failed(start_failed)` and frees the slot. Terminal flows stay as they are. */
  abandon(id: FlowId): Effect.Effect<void, StoreError>
  /** Any open state → `cancelled`, for its owner alone. Idempotent; false when there was nothing open to cancel. */
  cancel(
    input: { readonly id: FlowId; readonly tenant: TenantId; readonly subject: SubjectId }
  ): Effect.Effect<boolean, StoreError>
  /** One flow of the owner. An open flow past its deadline reads as `expired` even before a sweep. Reading changes nothing. */
  get(input: {
    readonly id: FlowId
    readonly tenant: TenantId
    readonly subject: SubjectId
  }): Effect.Effect<Option.Option<Flow>, StoreError>
  /** Those of the flows that there are, each as `get` gives it to its owner, in no order; `store_corrupt` when one of them cannot be read. */
  getAll(
    owners: ReadonlyArray<{
      readonly id: FlowId
      readonly tenant: TenantId
      readonly subject: SubjectId
    }>
  ): Effect.Effect<ReadonlyArray<Flow>, StoreError>
  /**
   * Every flow whose settling was committed, or whose deadline passed, within the last `within`, and maybe others: for
   * whoever may have missed a signal. A settling counts from its time, which is before its commit. What it costs depends
   * on how many ended, and not on how many are open.
   */
  ended(within: Duration.Duration): Effect.Effect<ReadonlyArray<FlowId>, StoreError>
  /** The newest flow of a connection, of whatever state. */
  latest(key: ConnectionKey): Effect.Effect<Option.Option<Flow>, StoreError>
  /** The flow that a state belongs to, whatever became of it; for the page that says "already finished". */
  findByState(stateHash: Digest): Effect.Effect<Option.Option<Flow>, StoreError>
  /**
   * Settles what nobody will: open flows past their deadline become `expired`, exchanging ones past their lease
   * `outcome_unknown`; terminal flows older than `retention` are deleted except the newest of each connection.
   * Returns the ids that were settled. Bounded by `limit`; replicas may sweep at once.
   */
  sweep(input: {
    readonly retention: Duration.Duration
    readonly limit: number
  }): Effect.Effect<ReadonlyArray<FlowId>, StoreError>
}>()("@valetkey/domain/FlowStore") {}
