import { Context, type DateTime, type Effect } from "effect"
import type { StoreError } from "./StoreError.ts"

/** Whose a store is, as the store itself remembers it. */
export interface InstanceRecord {
  readonly id: string
  /** The instances whose store this was before, oldest first. What they sealed may be opened. */
  readonly former: ReadonlyArray<string>
  /** When the instance took the store over; undefined when the store has always been its own. */
  readonly takenOverAt: DateTime.Utc | undefined
}

/** Port: the one record that says to which instance a store belongs. */
export class InstanceStore extends Context.Service<InstanceStore, {
  /** Enters the id if the store belongs to nobody, and returns the record. One atomic step: of servers that start at once all agree. */
  claim(id: string): Effect.Effect<InstanceRecord, StoreError>
  /** Gives the store from one instance to another, in one atomic step. False, and nothing changed, when it is not `from` whose it is. */
  takeOver(from: string, to: string): Effect.Effect<boolean, StoreError>
}>()("@valetkey/domain/InstanceStore") {}
