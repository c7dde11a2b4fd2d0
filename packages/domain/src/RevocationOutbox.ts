import { Context, type Duration, type Effect } from "effect"
import type { ConnectionKey, Grant } from "./Connection.ts"
import type { SealContext, Sealed } from "./Sealed.ts"
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

/** Port: revocations that are still owed to authorization servers. `ConnectionStore.disconnect` puts them there. */
export class RevocationOutbox extends Context.Service<RevocationOutbox, {
  /** Adds tokens that no connection holds, such as those of a flow that was cancelled during its exchange. */
  enqueue(revocation: Omit<Revocation, "attempts">): Effect.Effect<void, StoreError>
  /** Claims up to `limit` due entries for `lease`; no other caller gets them until then (`SKIP LOCKED`). */
  take(
    input: { readonly limit: number; readonly lease: Duration.Duration }
  ): Effect.Effect<ReadonlyArray<Revocation>, StoreError>
  /** Deletes an entry that is done with, and the connection row if it is still `revoking`. Idempotent. */
  settle(id: string): Effect.Effect<void, StoreError>
  /** How many entries there are, of every tenant. */
  readonly depth: Effect.Effect<number, StoreError>
  /** Makes an entry due again after a delay. */
  retry(id: string, delay: Duration.Duration): Effect.Effect<void, StoreError>
}>()("@valetkey/domain/RevocationOutbox") {}
