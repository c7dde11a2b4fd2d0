import type { TenantView } from "@valetkey/api/TenantsApi"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import { Tenants, type TenantStatus } from "@valetkey/domain/Tenants"
import { Effect } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import { orProblem } from "./DomainProblem.ts"
import { makeOperating } from "./internal/operating.ts"

/** Layer of the endpoints that delete tenants. */
export const layer = HttpApiBuilder.group(
  ValetkeyApi,
  "tenants",
  Effect.fnUntraced(function*(handlers) {
    const tenants = yield* Tenants
    const operating = yield* makeOperating
    return handlers.handleAll({
      status: ({ params }) => Effect.map(orProblem(tenants.status(params.tenant)), viewOf),
      remove: ({ params }) =>
        Effect.map(
          operating("tenant.deletion_requested", { target: params.tenant }, orProblem(tenants.remove(params.tenant))),
          viewOf
        ),
      allow: ({ params }) =>
        operating("tenant.allowed", { target: params.tenant }, orProblem(tenants.allow(params.tenant)))
    })
  })
)

const viewOf = ({ deletedAt, requestedAt, ...rest }: TenantStatus): TenantView => ({
  ...rest,
  ...(requestedAt === undefined ? {} : { requestedAt }),
  ...(deletedAt === undefined ? {} : { deletedAt })
})
