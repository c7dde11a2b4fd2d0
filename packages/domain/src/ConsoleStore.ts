import { Context, type Duration, type Effect, type Option } from "effect"
import type { ConsoleSession } from "./ConsoleSession.ts"
import type { Digest } from "./Entropy.ts"
import type { StoreError } from "./StoreError.ts"

/** Port: links into the console and the sessions that came of them. A store knows digests and never a secret. */
export class ConsoleStore extends Context.Service<ConsoleStore, {
  /** Stores a link that leads somewhere for `within` from now by the store's clock. */
  offer(
    draft: Pick<ConsoleSession, "id" | "tenant" | "subject" | "scopes">,
    input: { readonly ticketHash: Digest; readonly within: Duration.Duration }
  ): Effect.Effect<ConsoleSession, StoreError>
  /** The link of this ticket, in whichever tenant, and whether a browser has taken it. None when its time is over. Changes nothing. */
  find(
    ticketHash: Digest
  ): Effect.Effect<Option.Option<{ readonly session: ConsoleSession; readonly taken: boolean }>, StoreError>
  /**
   * Makes the link the session of one browser, for `lifetime` from now. One atomic step: of any number of browsers on any
   * number of replicas one is let in, once. None when the link is taken or its time is over.
   */
  take(input: {
    readonly ticketHash: Digest
    readonly sessionHash: Digest
    readonly lifetime: Duration.Duration
  }): Effect.Effect<Option.Option<ConsoleSession>, StoreError>
  /**
   * The session of this secret, in whichever tenant, if it is neither over nor was idle for longer than `idle`. Records the
   * visit, if the last record is older than `coarseness`.
   */
  visit(input: {
    readonly sessionHash: Digest
    readonly idle: Duration.Duration
    readonly coarseness: Duration.Duration
  }): Effect.Effect<Option.Option<ConsoleSession>, StoreError>
  /** Ends a session for good: the next `visit` on any replica is None. Idempotent; None when there is none to end. */
  end(sessionHash: Digest): Effect.Effect<Option.Option<ConsoleSession>, StoreError>
  /** Forgets links and sessions whose time is over; returns how many, at most `limit`. */
  sweep(limit: number): Effect.Effect<number, StoreError>
}>()("@valetkey/domain/ConsoleStore") {}
