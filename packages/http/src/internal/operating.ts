import type { ApiProblem } from "@valetkey/api/ApiProblem"
import { CurrentPrincipal } from "@valetkey/api/Principal"
import type { AuditEvent } from "@valetkey/domain/AuditEvent"
import { type AuditRecord, AuditTrail } from "@valetkey/domain/AuditTrail"
import { Cause, Effect, Exit } from "effect"

/** What a change was about. */
export interface Changed {
  readonly server?: NonNullable<AuditEvent["server"]> | undefined
  readonly target?: string | undefined
  readonly count?: number | undefined
}

/**
 * Builds the recording of what an operator changes: one event in the chain of the operator's own tenant, whether the
 * change was made, refused or broken off. A log that cannot be written never fails the change.
 */
export const makeOperating = Effect.map(
  AuditTrail,
  (trail) =>
  <A, R>(
    action: AuditRecord["action"],
    about: Changed | ((made: A) => Changed),
    change: Effect.Effect<A, ApiProblem, R>
  ): Effect.Effect<A, ApiProblem, R | CurrentPrincipal> =>
    Effect.flatMap(CurrentPrincipal, ({ subject, tenant }) =>
      Effect.onExit(change, (exit) => {
        const { server, ...rest }: Changed = typeof about !== "function"
          ? about
          : Exit.isSuccess(exit)
          ? about(exit.value)
          : {}
        return trail.record({
          key: { tenant, subject, ...(server === undefined ? {} : { server }) },
          action,
          outcome: Exit.isSuccess(exit) ? "ok" : codeOf(exit.cause),
          ...rest
        })
      }))
)

const codeOf = (cause: Cause.Cause<ApiProblem>): string => {
  if (Cause.hasInterruptsOnly(cause)) return "interrupted"
  const error = Cause.squash(cause)
  return typeof error === "object" && error !== null && "code" in error && "_tag" in error &&
      error._tag === "ApiProblem"
    ? String(error.code)
    : "internal"
}
