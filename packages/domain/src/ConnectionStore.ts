import { Context, type DateTime, type Duration, type Effect, type Option } from "effect"
import type {
  Connection,
  ConnectionKey,
  Epoch,
  Generation,
  Grant,
  ReauthReason,
  SealedCredentials
} from "./Connection.ts"
import type { AttemptPolicy, ClaimOutcome, RefreshFailure } from "./Refresh.ts"
import type { Sealed } from "./Sealed.ts"
import type { ServerSlug } from "./Server.ts"
import type { StoreError } from "./StoreError.ts"
import type { SubjectId } from "./Subject.ts"
import type { TenantId } from "./Tenant.ts"

/**
 * Port: connections and the right to redeem. Every write is a compare-and-set; a call that lost the race changes nothing.
 * Generation and fence count within one row, and a row that was deleted begins anew; so whatever a refresh writes names the
 * epoch as well, and what belongs to a former life of the connection is void.
 */
export class ConnectionStore extends Context.Service<ConnectionStore, {
  /** One read. */
  get(key: ConnectionKey): Effect.Effect<Option.Option<Connection>, StoreError>
  /** A page of the owner's connections in the order of slugs, after the given one. */
  list(input: {
    readonly tenant: TenantId
    readonly subject: SubjectId
    readonly after: ServerSlug | undefined
    readonly limit: number
  }): Effect.Effect<ReadonlyArray<Connection>, StoreError>
  /**
   * Asks for the right to redeem the refresh token of `generation` in the life `epoch`. One atomic step: of any number of
   * callers on any number of replicas one is `Claimed`. An expired `claimed` lease is taken over (nothing was sent). An
   * expired `sent` lease is an unknown outcome and follows `policy`. A lease that ends later than any does begins anew, and
   * such a pause is over: the clock was set back. The rules are `Refresh.decideClaim`.
   */
  claim(key: ConnectionKey, input: {
    readonly generation: Generation
    readonly epoch: Epoch
    readonly policy: AttemptPolicy
    /** Why a person is asked when no attempt is left and its outcome stays unknown. Default `unknown_outcome`. */
    readonly lost?: ReauthReason | undefined
    /** An expired `sent` is `Busy`, and nothing changes: its owner may be about to store the answer. Default false. */
    readonly leavesSent?: boolean | undefined
    readonly lease: Duration.Duration
  }): Effect.Effect<ClaimOutcome, StoreError>
  /** `claimed → sent`, durable when it returns and before a byte leaves; the lease starts anew. False when the claim is lost. */
  markSent(key: ConnectionKey, input: {
    readonly generation: Generation
    readonly epoch: Epoch
    readonly fence: number
    readonly lease: Duration.Duration
  }): Effect.Effect<boolean, StoreError>
  /**
   * Stores credentials as `generation + 1` if generation and epoch are still those that were redeemed, whoever holds the
   * lease: a late result is adopted, newer credentials are never overwritten. The phase becomes idle, attempts 0, the
   * status active; the account stays. `resultId` is kept with them, and `forced` is what `rejected` was. Other replicas are
   * told of the connection's topic with it; who commits wakes its own process. False when generation or epoch moved.
   */
  commit(key: ConnectionKey, input: {
    readonly generation: Generation
    readonly epoch: Epoch
    readonly credentials: SealedCredentials
    readonly resultId: string
  }): Effect.Effect<boolean, StoreError>
  /** Whether the current credentials are those that `commit` stored under this id: resolves an ambiguous commit. */
  isCommitted(key: ConnectionKey, resultId: string): Effect.Effect<boolean, StoreError>
  /**
   * Records how a redemption failed, if generation, epoch and fence still hold; a loser never marks what the winner stored.
   * False when lost.
   */
  fail(key: ConnectionKey, input: {
    readonly generation: Generation
    readonly epoch: Epoch
    readonly fence: number
    readonly policy: AttemptPolicy
    /** As in `claim`. */
    readonly lost?: ReauthReason | undefined
    readonly failure: RefreshFailure
  }): Effect.Effect<boolean, StoreError>
  /** Records that the resource refused the access token of this generation and epoch, if it is still the current one. Idempotent. */
  reject(
    key: ConnectionKey,
    input: { readonly generation: Generation; readonly epoch: Epoch }
  ): Effect.Effect<void, StoreError>
  /**
   * Sets when the access token of this generation and epoch ends, which its answer did not say, if it is still the current
   * one; what was planned for it is planned as after a write of credentials. Idempotent. False when it changed nothing.
   */
  setExpiry(key: ConnectionKey, input: {
    readonly generation: Generation
    readonly epoch: Epoch
    readonly expiresAt: DateTime.Utc
  }): Effect.Effect<boolean, StoreError>
  /**
   * Writes a connection obtained elsewhere, as `previous + 1` with a new epoch, if its generation is still `previous` (0: none).
   * With `owesFormer` the secrets that stood there move to the revocation outbox in the same transaction, as with
   * `disconnect`: nobody could end their grant afterwards. A connection that is `revoking` owes nothing more.
   */
  deposit(key: ConnectionKey, input: {
    readonly epoch: Epoch
    readonly previous: number
    readonly grant: Grant
    readonly clientSecret?: Sealed | undefined
    readonly credentials: SealedCredentials
    /** Takes the place of what was known; absent, nothing is known any more. */
    readonly account?: Sealed | undefined
    /** When the grant was given; absent, it is given now. */
    readonly grantedAt?: DateTime.Utc | undefined
    /** Default false: what is deposited may be of the same grant, which a revocation would end. */
    readonly owesFormer?: boolean | undefined
  }): Effect.Effect<boolean, StoreError>
  /**
   * Ends a connection in one transaction: the row becomes `revoking` under a new epoch with no secrets and no account, every
   * open flow of it is cancelled, and its secrets move to the revocation outbox. From then on no replica finds credentials.
   * False when there was nothing to end.
   */
  disconnect(key: ConnectionKey, epoch: Epoch): Effect.Effect<boolean, StoreError>
  /**
   * Deletes a connection and its secrets in one step and owes the authorization server nothing, if generation and epoch
   * are still those that were read, nobody holds a lease, and no attempt of unknown outcome waits for another: what comes
   * of a refresh that is not over is stored here and nowhere else. Leaves a mark in the same step
   * (`RevocationReceipts.isForgotten`), by which a late result of this life is known. Open flows stay. False when it
   * changed nothing.
   */
  forget(key: ConnectionKey, input: {
    readonly generation: Generation
    readonly epoch: Epoch
  }): Effect.Effect<boolean, StoreError>
}>()("@valetkey/domain/ConnectionStore") {}
