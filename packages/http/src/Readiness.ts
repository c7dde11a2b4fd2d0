import type { ReadinessCheck } from "@valetkey/api/SystemApi"
import { Context, Effect, Layer } from "effect"

/** Port: what must hold before this process takes work. Reasons are safe to show. */
export class Readiness extends Context.Service<Readiness, {
  readonly checks: Effect.Effect<ReadonlyArray<ReadinessCheck>>
}>()("@valetkey/http/Readiness") {
  /** Layer without conditions. */
  static readonly layerAlways: Layer.Layer<Readiness> = Layer.succeed(
    Readiness,
    Readiness.of({ checks: Effect.succeed([]) })
  )
}
