import { Context, Effect } from "effect"

/** The named instants of a flow and a refresh at which a crash, a pause or a race is worth forcing. */
export type CheckpointName =
  | "flow.reserved"
  | "flow.claimed"
  | "flow.code_sent"
  | "flow.tokens_received"
  | "flow.before_commit"
  | "flow.after_commit"
  | "flow.handing_off"
  | "device.claimed"
  | "device.answered"
  | "refresh.claimed"
  | "refresh.sent"
  | "refresh.response_received"
  | "refresh.before_commit"
  | "refresh.after_commit"
  | "tenant.marked"
  | "tenant.owed"
  | "tenant.erasing"

/** What happens at a checkpoint. Nothing, unless a test provides otherwise. */
export const CheckpointHandler = Context.Reference<(name: CheckpointName) => Effect.Effect<void>>(
  "@valetkey/domain/CheckpointHandler",
  { defaultValue: () => () => Effect.void }
)

/** Announces that a checkpoint is reached and lets the handler act. */
export const reach = (name: CheckpointName): Effect.Effect<void> =>
  Effect.flatMap(CheckpointHandler, (handler) => handler(name))
