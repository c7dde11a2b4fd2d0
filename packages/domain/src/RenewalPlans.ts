import { Context, DateTime, Duration, type Effect, type Option } from "effect"
import type { Connection, ConnectionKey, Epoch, Generation, SealedCredentials } from "./Connection.ts"
import type { StoreError } from "./StoreError.ts"

/** How soon a connection is looked at whose credentials were written and of which nothing is planned. */
export const soon = Duration.minutes(1)

/** A connection whose time has come. */
export interface DueConnection {
  readonly connection: Connection
  /** The end that was told already. */
  readonly told: DateTime.Utc | undefined
}

/** When a connection is looked at again. */
export interface RenewalPlan {
  readonly key: ConnectionKey
  readonly epoch: Epoch
  readonly generation: Generation
  /** Undefined for never, until its credentials are written again. */
  readonly after: Duration.Duration | undefined
  /** The end that is told by now. */
  readonly told?: DateTime.Utc | undefined
}

/**
 * Port: when each connection is looked at next, to renew its credentials before anybody asks. It writes rows of
 * `ConnectionStore`; there is no timer, each connection has a time on the store's clock. A write of credentials plans by
 * itself (`planOf`): what was planned in time stays, everything else is due soon. So nothing that is written by anybody, an
 * older version included, is missed.
 */
export class RenewalPlans extends Context.Service<RenewalPlans, {
  /**
   * Takes active connections that are due. Each is due again when the lease is over, so that what became of it need not be
   * reported. Of any number of takers one gets a connection, and nobody waits for anybody. Tenants have their turns: the
   * longest due connection of each comes before the second of any, counted among hundreds of the longest and of the latest due. One that cannot be read is left out until its lease
   * ends, logged and counted, and keeps nobody waiting.
   */
  take(input: {
    readonly limit: number
    readonly lease: Duration.Duration
  }): Effect.Effect<ReadonlyArray<DueConnection>, StoreError>
  /** How long until the next connection is due, zero when one is; none when nothing is planned. */
  readonly nextDue: Effect.Effect<Option.Option<Duration.Duration>, StoreError>
  /** Plans connections, each if epoch and generation still hold; of the others nothing changes. Returns how many were. */
  plan(plans: ReadonlyArray<RenewalPlan>): Effect.Effect<number, StoreError>
}>()("@valetkey/domain/RenewalPlans") {}

/**
 * When a connection is due whose credentials are written now: as it was planned, if that is before they end, otherwise soon.
 * Times are milliseconds of the store's clock.
 */
export const planOf = (planned: number | undefined, credentials: SealedCredentials, now: number): number =>
  planned !== undefined && planned <= firstEndOf(credentials) ? planned : now + Duration.toMillis(soon)

/** The first end of what the credentials are, in milliseconds; infinite where nobody named one. */
export const firstEndOf = ({ expiresAt, refreshExpiresAt }: SealedCredentials): number =>
  Math.min(...[expiresAt, refreshExpiresAt].flatMap((end) => end === undefined ? [] : [DateTime.toEpochMillis(end)]))
