import * as HttpApi from "effect/http-api/HttpApi"
import * as OpenApi from "effect/http-api/OpenApi"
import { ApiKeysApi } from "./ApiKeysApi.ts"
import { AuditApi } from "./AuditApi.ts"
import { Boundary } from "./Boundary.ts"
import { ConnectionsApi } from "./ConnectionsApi.ts"
import { ConsoleApi } from "./ConsoleApi.ts"
import { ExportsApi } from "./ExportsApi.ts"
import { FlowsApi } from "./FlowsApi.ts"
import { InstanceApi } from "./InstanceApi.ts"
import { KeysApi } from "./KeysApi.ts"
import { describeProxy } from "./ProxyApi.ts"
import { RevocationsApi } from "./RevocationsApi.ts"
import { ServersApi } from "./ServersApi.ts"
import { SystemApi } from "./SystemApi.ts"
import { TenantsApi } from "./TenantsApi.ts"
import { TokensApi } from "./TokensApi.ts"

/** The whole HTTP contract. Unknown keys in a query or a body are refused. */
export class ValetkeyApi extends HttpApi.make("valetkey")
  .add(
    FlowsApi,
    ConnectionsApi,
    RevocationsApi,
    ExportsApi,
    ConsoleApi,
    TokensApi,
    ServersApi,
    ApiKeysApi,
    InstanceApi,
    KeysApi,
    AuditApi,
    TenantsApi,
    SystemApi
  )
  .middleware(Boundary)
  .annotate(HttpApi.PayloadParseOptions, { onExcessProperty: "error", errors: "all" })
  .annotate(HttpApi.QueryParseOptions, { onExcessProperty: "error", errors: "all" })
  .annotate(OpenApi.Title, "Valetkey")
  .annotate(OpenApi.Version, "1")
  .annotate(OpenApi.Transform, describeProxy)
  .annotate(OpenApi.Description, "Keeps OAuth connections for programs that act for people.")
{}
