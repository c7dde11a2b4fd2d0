import * as Redaction from "@valetkey/http/Redaction"
import { Effect, Layer } from "effect"
import type { Settings } from "./Settings.ts"

/**
 * Layer that exports traces, metrics and logs when a collector is configured. Nothing of it is loaded otherwise: a start
 * pays for no exporter that it does not have.
 */
export const layer = ({ telemetry }: Pick<Settings, "telemetry">): Layer.Layer<never> =>
  telemetry === undefined
    ? Layer.empty
    : Layer.provideMerge(
      Redaction.layerTracer,
      Layer.unwrap(Effect.map(Effect.promise(() => import("./Exporter.ts")), (exporter) => exporter.layer(telemetry)))
    )
