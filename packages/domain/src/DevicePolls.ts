import { Context, type Duration, type Effect, type Option } from "effect"
import type { ConnectionKey, Grant } from "./Connection.ts"
import type { DeviceSnapshot, FlowFailure, FlowId } from "./Flow.ts"
import type { Sealed } from "./Sealed.ts"
import type { StoreError } from "./StoreError.ts"

/** A poll that its taker alone may send, until its lease ends. `fence` makes every older poll's report void. */
export interface DevicePoll {
  readonly id: FlowId
  readonly key: ConnectionKey
  readonly fence: number
  /** Which device code it is about: another one comes with a hand-off. */
  readonly handOffs: number
  readonly grant: Grant
  readonly snapshot: DeviceSnapshot
  /** Sealed as `device_code`, generation 0. */
  readonly deviceCode: Sealed
  /** Sealed as `client_secret`, generation 0. */
  readonly clientSecret?: Sealed | undefined
  readonly interval: Duration.Duration
  /** How many polls in a row got no usable answer. */
  readonly failures: number
  /** Whether an earlier poll may have been granted, and its answer lost: it timed out, or whoever sent it died. */
  readonly doubtful: boolean
}

/** When a flow is polled again, and what is known by then. */
export interface NextPoll {
  readonly after: Duration.Duration
  readonly interval: Duration.Duration
  readonly failures: number
  readonly doubtful: boolean
}

/**
 * The fence of a flow whose credentials this poll has got. It is above every poll's, and no other poll has the same: the
 * row itself says who accepted. A flow lives for minutes, so that its polls never count up to it.
 */
export const acceptedFence = (fence: number): number => 2 ** 30 + fence

/**
 * Port: who asks when what became of a device code. It writes rows of `FlowStore`: a flow is `pending` while it is polled.
 * There is no timer: each flow has a time at which it is due, on the store's clock.
 */
export class DevicePolls extends Context.Service<DevicePolls, {
  /**
   * Takes flows that are due and neither ended nor past their deadline, the longest due first. Each is due again when the
   * lease is over, so that a poll whose taker died is taken by another. Of any number of takers one gets a flow, and
   * nobody waits for anybody. One that cannot be read is left out until then, logged and counted, and keeps nobody waiting.
   */
  take(input: {
    readonly limit: number
    readonly lease: Duration.Duration
  }): Effect.Effect<ReadonlyArray<DevicePoll>, StoreError>
  /** How long until the next flow is due, zero when one is; none when nobody waits for a device. */
  readonly nextDue: Effect.Effect<Option.Option<Duration.Duration>, StoreError>
  /** Says when the flow is due again, if the fence still holds. False means that the report came too late and changed nothing. */
  again(id: FlowId, fence: number, next: NextPoll): Effect.Effect<boolean, StoreError>
  /**
   * `pending → exchanging`, because credentials were granted for the device code of that many hand-offs; gives the fence by
   * which `FlowStore.complete` stores them. A later poll of the same code does not keep them out: a code is granted once.
   * The fence is `acceptedFence` of the poll's, so that the same poll accepts as often as it asks: the answer to its commit
   * may have been lost. None when the flow ended, is past its deadline or was handed off, or when another poll was faster:
   * the credentials belong nowhere.
   */
  accept(
    poll: Pick<DevicePoll, "id" | "fence" | "handOffs">,
    lease: Duration.Duration
  ): Effect.Effect<Option.Option<number>, StoreError>
  /**
   * Settles a flow whose device code grants nothing, if the fence still holds. True again when it is settled so by this
   * poll: the answer to its commit may have been lost. False means that somebody else settled it.
   * Other replicas hear the flow's topic with the commit; this process is woken by the caller.
   */
  end(
    id: FlowId,
    fence: number,
    outcome: FlowFailure | "expired" | "outcome_unknown"
  ): Effect.Effect<boolean, StoreError>
}>()("@valetkey/domain/DevicePolls") {}
