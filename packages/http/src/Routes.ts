import { ApiProblem } from "@valetkey/api/ApiProblem"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import { Effect, Layer } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as OpenApi from "effect/http-api/OpenApi"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as ApiKeysHandlers from "./ApiKeysHandlers.ts"
import * as AuditHandlers from "./AuditHandlers.ts"
import * as CallbackRoute from "./CallbackRoute.ts"
import * as ClientMetadataRoute from "./ClientMetadataRoute.ts"
import * as ConnectionsHandlers from "./ConnectionsHandlers.ts"
import * as ConnectRoute from "./ConnectRoute.ts"
import * as ConsoleHandlers from "./ConsoleHandlers.ts"
import * as ConsoleRoute from "./ConsoleRoute.ts"
import * as DocsPage from "./DocsPage.ts"
import * as ExportsHandlers from "./ExportsHandlers.ts"
import * as FlowsHandlers from "./FlowsHandlers.ts"
import * as Guard from "./Guard.ts"
import * as InstanceHandlers from "./InstanceHandlers.ts"
import * as KeysHandlers from "./KeysHandlers.ts"
import * as OriginGuard from "./OriginGuard.ts"
import * as ProblemBoundary from "./ProblemBoundary.ts"
import { apiHeaders, render } from "./ProblemResponse.ts"
import * as ProxyRoute from "./ProxyRoute.ts"
import * as RevocationsHandlers from "./RevocationsHandlers.ts"
import * as ServersHandlers from "./ServersHandlers.ts"
import * as SystemHandlers from "./SystemHandlers.ts"
import * as TenantsHandlers from "./TenantsHandlers.ts"
import * as TokensHandlers from "./TokensHandlers.ts"

/** How a listener is to match the routes: the contract says how long a part of a path may be, and a resource below the proxy. */
export const routerConfig = { maxParamLength: 32 * 1024 }

const layerContract = HttpApiBuilder.layer(ValetkeyApi).pipe(
  Layer.provide([
    ApiKeysHandlers.layer,
    AuditHandlers.layer,
    ConnectionsHandlers.layer,
    ConsoleHandlers.layer,
    ExportsHandlers.layer,
    FlowsHandlers.layer,
    InstanceHandlers.layer,
    KeysHandlers.layer,
    RevocationsHandlers.layer,
    ServersHandlers.layer,
    SystemHandlers.layer,
    TenantsHandlers.layer,
    TokensHandlers.layer
  ]),
  Layer.provide([Guard.layer, ProblemBoundary.layer])
)

/** What anybody may read: the contract itself. */
const layerDocuments = HttpRouter.use(Effect.fnUntraced(function*(router) {
  const document = Effect.runSync(Effect.cached(Effect.sync(() => OpenApi.fromApi(ValetkeyApi))))
  yield* router.add(
    "GET",
    "/v1/openapi.json",
    Effect.map(document, (spec) => HttpServerResponse.setHeaders(HttpServerResponse.jsonUnsafe(spec), apiHeaders))
  )
  yield* router.add("GET", "/docs", Effect.map(document, DocsPage.render))
}))

/** Layer that answers what no route matches. A HEAD goes to the GET of its path first, so it has no route here. */
const layerNotFound = HttpRouter.use(Effect.fnUntraced(function*(router) {
  const answer = render(ApiProblem.of("not_found", "There is no such endpoint; /docs lists them"))
  for (const method of ["DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT"] as const) {
    yield* router.add(method, "/*", answer)
  }
}))

/**
 * Layer of the API listener: the contract, its documents, the proxy, and the answer to everything else. Pass the addresses of the
 * listener as `hosts` when it is reached by TCP.
 */
export const layerApi = (options: OriginGuard.OriginGuardOptions = {}) =>
  Layer.fresh(
    Layer.mergeAll(layerContract, layerDocuments, ProxyRoute.layer, layerNotFound).pipe(
      Layer.provide(OriginGuard.make(options).layer)
    )
  )

/** How browsers know the public listener: both are parts of the public URL. */
export interface PublicOptions {
  /** Without one the connect page takes no form. */
  readonly origin?: string | undefined
  readonly basePath?: string | undefined
}

/** Layer of the public listener: what a browser visits. */
export const layerPublic = ({ basePath, origin }: PublicOptions = {}) =>
  Layer.fresh(Layer.mergeAll(
    CallbackRoute.layer({ basePath: basePath ?? "" }),
    ClientMetadataRoute.layer({ origin, basePath: basePath ?? "" }),
    ConnectRoute.layer({ origin }),
    ConsoleRoute.layer({ origin, basePath: basePath ?? "" })
  ))

/**
 * Layer of a listener that serves the console alone, at an origin of this machine: for a server without a public URL. It
 * answers for that origin and no other name that leads to it.
 */
export const layerConsole = (origin: string) =>
  Layer.fresh(
    ConsoleRoute.layer({ origin, basePath: "", transport: "loopback" }).pipe(
      Layer.provide(OriginGuard.make({ hosts: [new URL(origin).host], origins: [origin] }).layer)
    )
  )
