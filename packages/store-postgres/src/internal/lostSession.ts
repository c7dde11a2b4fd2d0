import { Cause, Effect } from "effect"
import { SqlError } from "effect/sql/SqlError"

/**
 * Turns the defect of a rollback that failed into an error. The client calls it one because the session is in doubt, but a
 * session that is gone has been rolled back by the database.
 */
export const recover = <A, E>(transaction: Effect.Effect<A, E | SqlError>): Effect.Effect<A, E | SqlError> =>
  Effect.catchCause(transaction, (cause) => {
    const lost = cause.reasons.filter(Cause.isDieReason).map(({ defect }) => defect)
      .find((defect) => defect instanceof SqlError)
    return lost === undefined ? Effect.failCause(cause) : Effect.fail(lost)
  })
