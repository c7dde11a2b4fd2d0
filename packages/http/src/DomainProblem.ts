import { ApiProblem, type ProblemMembers } from "@valetkey/api/ApiProblem"
import type { DomainError } from "@valetkey/api/ErrorStatus"
import { Effect } from "effect"

/** Turns the errors of a use case into problems. What has a cause is logged, because the problem leaves it behind. */
export const orProblem = <A, R>(
  effect: Effect.Effect<A, DomainError, R>,
  members: ProblemMembers = {}
): Effect.Effect<A, ApiProblem, R> =>
  Effect.catch(effect, (error) => {
    const problem = new ApiProblem({ ...ApiProblem.fromError(error), ...members })
    return "cause" in error || problem.status >= 500
      ? Effect.andThen(Effect.logWarning(error.code, error), Effect.fail(problem))
      : Effect.fail(problem)
  })
