import { Context, type Effect, type Redacted, Schema } from "effect"
import type { WorkloadName } from "./Server.ts"
import type { TenantId } from "./Tenant.ts"

/** Error of a workload's own token that is not there: nothing was sent, and whoever runs this installation can mend it. */
export class WorkloadTokenMissing
  extends Schema.TaggedError<WorkloadTokenMissing>("valetkey/WorkloadTokenMissing")("WorkloadTokenMissing", {
    cause: Schema.optionalKey(Schema.Defect())
  })
{
  override get message() {
    return "The workload's own token cannot be read"
  }
}

/**
 * Port: the tokens by which the platform that this installation runs on says who it is. They speak for the installation,
 * so each is lent to one tenant, by whoever runs it.
 */
export class WorkloadTokens extends Context.Service<WorkloadTokens, {
  /** The token of this name as it is now: platforms replace them all the time. Nothing when it is lent to another tenant. */
  read(tenant: TenantId, name: WorkloadName): Effect.Effect<Redacted.Redacted, WorkloadTokenMissing>
}>()("@valetkey/domain/WorkloadTokens") {}
