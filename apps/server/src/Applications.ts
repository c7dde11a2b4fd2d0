import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HotToken from "@valetkey/http/HotToken"
import * as Routes from "@valetkey/http/Routes"
import { Effect, Layer } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as Leaving from "./Leaving.ts"
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
    const router = yield* HttpRouter.toHttpEffect(Layer.mergeAll(Leaving.layer, routes)).pipe(
      Effect.provideService(HttpRouter.RouterConfig, Routes.routerConfig)
    )
    return yield* NodeHttpServer.makeHandler(router, { scope: yield* Effect.scope })
  }).pipe(Effect.provide(HttpServer.layerServices))
