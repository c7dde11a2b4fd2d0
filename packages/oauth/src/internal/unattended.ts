import { RedemptionError, RedemptionFailure } from "@valetkey/domain/AuthorizationServer"
import type { Grant } from "@valetkey/domain/Connection"

/** The scopes and the resource of a grant that nobody consented to, as its token request says them. */
export const parametersOf = ({ resource, unattended }: Grant): Record<string, string> => ({
  ...(unattended === undefined || unattended.scopes.length === 0 ? {} : { scope: unattended.scopes.join(" ") }),
  ...(resource === undefined ? {} : { resource })
})

/** The error of what must not be sent, or not be used. What it holds is told to nobody. */
export const misfit = (error: string, why: string): RedemptionError =>
  new RedemptionError({ reason: RedemptionFailure.cases.Configuration.make({ error }), cause: new Error(why) })
