import { Effect } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"

/** Layer of `GET /metrics`: Prometheus text. The formatter is loaded when it is first asked for. */
export const layer = HttpRouter.use((router) =>
  router.add(
    "GET",
    "/metrics",
    Effect.promise(() => import("effect/observability/PrometheusMetrics")).pipe(
      Effect.flatMap((prometheus) => prometheus.format()),
      Effect.map((text) => HttpServerResponse.text(text, { contentType: "text/plain; version=0.0.4; charset=utf-8" }))
    )
  )
)
