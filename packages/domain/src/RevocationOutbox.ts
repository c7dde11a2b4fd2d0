import { Context, type DateTime, Duration, type Effect } from "effect"
import { type Connection, type ConnectionKey, type Epoch, type Grant, sealContext } from "./Connection.ts"
import type { RevocationProgress } from "./RevocationReceipt.ts"
import { rowOf, type SealContext, type Sealed } from "./Sealed.ts"
import type { StoreError } from "./StoreError.ts"

/** One secret of an entry together with the context that opens it. */
export interface OutboxSecret {
  readonly sealed: Sealed
  readonly context: SealContext
}

/** Tokens that are to be revoked at the authorization server (RFC 7009). */
export interface Revocation {
  readonly id: string
  readonly key: ConnectionKey
  readonly grant: Grant
  readonly accessToken?: OutboxSecret | undefined
  readonly refreshToken?: OutboxSecret | undefined
  readonly clientSecret?: OutboxSecret | undefined
  /** Attempts made so far, this one included. */
  readonly attempts: number
}

/** Tokens that are to be revoked from now on. */
export interface OwedRevocation extends Omit<Revocation, "attempts"> {
  /** When the access token ends by itself, for the receipt. */
  readonly accessTokenExpiresAt?: DateTime.Utc | undefined
  /** When the tokens were issued: those of a deleted tenant are not owed by the one that has its name now. */
  readonly issuedAt?: DateTime.Utc | undefined
}

/** The id of the entry by which a disconnect ends one life of a connection at the generation that it had. */
export const endingOf = ({ server, subject, tenant }: ConnectionKey, epoch: Epoch, generation: number): string =>
  rowOf(tenant, subject, server, epoch, String(generation))

/** What is owed when one life of a connection ends, which it does once: so this names the entry. */
export const endingRevocation = (connection: Connection): OwedRevocation => {
  const { clientSecret, credentials, epoch, generation, grant, key } = connection
  const context = (field: Parameters<typeof sealContext>[2], at: number) => sealContext(key, epoch, field, at)
  return {
    id: endingOf(key, epoch, generation),
    key,
    grant,
    accessTokenExpiresAt: credentials.expiresAt,
    accessToken: { sealed: credentials.accessToken, context: context("access_token", generation) },
    refreshToken: credentials.refreshToken && {
      sealed: credentials.refreshToken,
      context: context("refresh_token", generation)
    },
    clientSecret: clientSecret && { sealed: clientSecret, context: context("client_secret", 0) }
  }
}

/** The name of the mark that `ConnectionStore.forget` leaves for one life of a connection, whatever its generation. */
export const forgettingOf = ({ server, subject, tenant }: ConnectionKey, epoch: Epoch): string =>
  rowOf(tenant, subject, server, epoch, "forgotten")

/** How long an entry is put aside that cannot be read: until somebody mends it. */
export const unreadableDelay = Duration.days(36_525)

/**
 * Port: revocations that are still owed to authorization servers. `ConnectionStore` puts them there when a connection ends. Every
 * change of an entry changes its receipt in the same step (`RevocationReceipts`).
 */
export class RevocationOutbox extends Context.Service<RevocationOutbox, {
  /**
   * Adds tokens that no connection holds, such as those of a flow that was cancelled during its exchange. Refused with
   * `tenant_deleted` for a tenant that is gone, and for tokens from before the name of a deleted one was allowed again.
   */
  enqueue(revocation: OwedRevocation): Effect.Effect<void, StoreError>
  /**
   * Claims up to `limit` due entries for `lease`; no other caller gets them until then (`SKIP LOCKED`). One that cannot be
   * read is put aside by `unreadableDelay`, told in its receipt as `store_corrupt` and counted, and keeps nobody waiting.
   */
  take(
    input: { readonly limit: number; readonly lease: Duration.Duration }
  ): Effect.Effect<ReadonlyArray<Revocation>, StoreError>
  /**
   * Deletes an entry that is done with, and the connection row if it is still `revoking`. The receipt keeps what came of
   * it: what was confirmed once stays so, and what is pending or not told is given up. Idempotent.
   */
  settle(id: string, progress?: RevocationProgress): Effect.Effect<void, StoreError>
  /** How many entries there are, of every tenant. */
  readonly depth: Effect.Effect<number, StoreError>
  /** Makes an entry due again after a delay. The receipt tells when, and what came of the attempt. */
  retry(id: string, delay: Duration.Duration, progress?: RevocationProgress): Effect.Effect<void, StoreError>
}>()("@valetkey/domain/RevocationOutbox") {}
