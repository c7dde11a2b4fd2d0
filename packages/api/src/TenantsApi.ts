import { TenantId } from "@valetkey/domain/Tenant"
import { Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import { problems } from "./ApiProblem.ts"
import { group, guarded } from "./Policy.ts"
import { Identity, Instant } from "./Text.ts"

/** Schema for a tenant as its operator sees it. */
export const TenantView = Schema.Struct({
  tenant: Schema.String,
  /** `active` for every name that was not deleted, used or not. `deleted` when nothing of the tenant is left. */
  state: Schema.Literals(["active", "deleting", "deleted"]),
  requestedAt: Schema.optionalKey(Instant),
  deletedAt: Schema.optionalKey(Instant),
  /** Connections whose tokens are not owed to an authorization server yet. */
  connections: Schema.Natural,
  /** Revocations that are still owed to authorization servers. */
  revocations: Schema.Natural
}).annotate({ identifier: "Tenant" })
export type TenantView = typeof TenantView.Type

const params = { tenant: TenantId.check(Identity) }

/** The end of tenants, for the operator of the installation. */
export class TenantsApi extends group(
  "tenants",
  guarded(
    ["operator"],
    HttpApiEndpoint.get("status", "/v1/tenants/:tenant", { params, success: TenantView, error: problems(503) })
      .annotate(OpenApi.Summary, "Whether a tenant is being deleted or was, and what is left")
  ),
  guarded(
    ["operator"],
    HttpApiEndpoint.delete("remove", "/v1/tenants/:tenant", {
      params,
      success: TenantView.pipe(HttpApiSchema.status(202)),
      error: problems(503)
    }).annotate(
      OpenApi.Summary,
      "Refuse a tenant on every replica at once, revoke its tokens, then delete all that it has; idempotent"
    )
  ),
  guarded(
    ["operator"],
    HttpApiEndpoint.post("allow", "/v1/tenants/:tenant/allow", {
      params,
      success: HttpApiSchema.NoContent,
      error: problems(409, 503)
    }).annotate(OpenApi.Summary, "Let the name of a deleted tenant be used again; idempotent")
  )
).annotate(OpenApi.Description, "Deleting tenants.") {}
