import { Context, type DateTime, type Duration, type Effect, Schema } from "effect"
import type { HeldKey } from "./HeldKeys.ts"
import type { StoreError } from "./StoreError.ts"

/** Schema for what a root key may do: seal and open, open, nothing any more. */
export const KeyState = Schema.Literals(["primary", "active", "retired"])
export type KeyState = typeof KeyState.Type

/** A root key as the installation remembers it. */
export interface RegisteredKey extends HeldKey {
  readonly state: KeyState
  readonly firstSeenAt: DateTime.Utc
}

/** Port: which root keys an installation has, and what each may do. The same for every replica; it holds no key. */
export class KeyRegister extends Context.Service<KeyRegister, {
  /** Every key that was ever seen, by id. */
  readonly list: Effect.Effect<ReadonlyArray<RegisteredKey>, StoreError>
  /**
   * Enters the keys whose ids are new, as `active`; one that is known keeps its check value and state. The first of them
   * becomes `primary` if no key is. One atomic step: of replicas that start at once all agree.
   */
  enroll(keys: ReadonlyArray<HeldKey>): Effect.Effect<void, StoreError>
  /** `active → primary`, and the primary becomes `active`, in one atomic step. True also when it is primary already; false for an unknown or retired key. */
  promote(id: number): Effect.Effect<boolean, StoreError>
  /**
   * `active → retired`, if the key was not primary during the last `quiet`, so that nobody who had not heard of its
   * demotion still seals with it. True also when it is retired already.
   */
  retire(id: number, quiet: Duration.Duration): Effect.Effect<boolean, StoreError>
}>()("@valetkey/domain/KeyRegister") {}
