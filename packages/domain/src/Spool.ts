import { Context, type Effect, type Option } from "effect"
import type { ConnectionKey, Epoch, Generation, Grant, SealedCredentials } from "./Connection.ts"
import type { Sealed } from "./Sealed.ts"
import type { StoreError } from "./StoreError.ts"

/** The result of a redemption that waits to be committed; the secrets in it are sealed for the connection's row. */
export interface SpoolEntry {
  readonly id: string
  readonly key: ConnectionKey
  readonly epoch: Epoch
  /** The generation whose refresh token was redeemed. */
  readonly redeemed: Generation
  readonly credentials: SealedCredentials
  /** Where the tokens are revoked if the connection ended meanwhile. Absent in an entry of a version before. */
  readonly grant?: Grant | undefined
  /** The client's secret at that place, sealed in the connection's context, generation 0. */
  readonly clientSecret?: Sealed | undefined
}

/** Port: a durable place beside the store, so that credentials the provider already issued survive a store outage or a crash. */
export class Spool extends Context.Service<Spool, {
  /** Durable when it returns: the entry survives the death of the process (not that of the machine, unless the adapter says so). */
  append(entry: SpoolEntry): Effect.Effect<void, StoreError>
  /** Removes an entry; unknown ids are fine. */
  remove(id: string): Effect.Effect<void, StoreError>
  /**
   * The result that waits for this generation in this life of a connection. Costs no more with many that wait for others:
   * every redemption asks before it begins.
   */
  find(
    key: ConnectionKey,
    input: { readonly epoch: Epoch; readonly redeemed: Generation }
  ): Effect.Effect<Option.Option<SpoolEntry>, StoreError>
  /** Every entry in the order of appending. A torn last entry of a crash is left out. */
  readonly list: Effect.Effect<ReadonlyArray<SpoolEntry>, StoreError>
}>()("@valetkey/domain/Spool") {}
