import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { proxyPrefix } from "@valetkey/api/ProxyApi"
import * as HotToken from "@valetkey/http/HotToken"
import * as Routes from "@valetkey/http/Routes"
import { Effect, Layer } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { Draining } from "./Draining.ts"
import type { Application } from "./Listeners.ts"
import * as MetricsRoute from "./MetricsRoute.ts"
import * as Probes from "./Probes.ts"

/** What programs call, and what browsers visit too where they share a port. */
export const api = (options: {
  readonly hosts?: ReadonlyArray<string> | undefined
  readonly browsers?: Routes.PublicOptions | undefined
}) =>
  Effect.gen(function*() {
    const { browsers, hosts } = options
    const hot = yield* HotToken.make({ hosts })
    const contract = Routes.layerApi({ hosts })
    const answer = yield* make(
      browsers === undefined ? contract : Layer.mergeAll(contract, Routes.layerPublic(browsers))
    )
    return ((request, response) => {
      if (!hot(request, response, answer)) answer(request, response)
    }) satisfies Application
  })

/** What browsers visit, on a port of its own. */
export const browsers = (options: Routes.PublicOptions) =>
  make(Layer.mergeAll(Routes.layerPublic(options), Probes.layer))

/** The console of a server without a public URL, at an origin of this machine. */
export const console = (origin: string) => make(Routes.layerConsole(origin))

/** What operators ask. */
export const admin = () => make(Layer.mergeAll(Probes.layer, MetricsRoute.layer))

/** Builds the routes and answers by them; closing the scope interrupts what is still answered. */
const make = <R>(routes: Layer.Layer<never, never, R>) =>
  Effect.gen(function*() {
    const router = yield* HttpRouter.toHttpEffect(Layer.mergeAll(layerLeaving, routes)).pipe(
      Effect.provideService(HttpRouter.RouterConfig, Routes.routerConfig)
    )
    return yield* NodeHttpServer.makeHandler(router, { scope: yield* Effect.scope })
  }).pipe(Effect.provide(HttpServer.layerServices))

/** Ends long polls when the drain begins: whoever waits asks another replica. Everything else is answered in full. */
const layerLeaving = HttpRouter.middleware(
  Effect.gen(function*() {
    const draining = yield* Draining
    return (app) =>
      Effect.flatMap(
        HttpServerRequest.HttpServerRequest,
        (request) =>
          request.method === "GET" && request.url.includes("wait=") && !request.url.startsWith(proxyPrefix)
            ? Effect.raceFirst(app, Effect.as(draining.wait, leaving))
            : app
      )
  }),
  { global: true }
)

const leaving = HttpServerResponse.jsonUnsafe({
  type: "https://valetkey.dev/problems/draining",
  title: "Service Unavailable",
  status: 503,
  code: "draining",
  detail: "This server is shutting down; ask again",
  retryAfterSeconds: 1
}, {
  status: 503,
  contentType: "application/problem+json",
  headers: { "retry-after": "1", "cache-control": "no-store" }
})
