import { Context, Effect, Layer, Logger, References } from "effect"
import * as Emitted from "./Emitted.ts"

/** Records every log line at every level instead of printing it, and hands it to the canary scan. */
export class LogRecorder extends Context.Service<LogRecorder, {
  /** Lines in order, as JSON with annotations, spans and cause. */
  readonly lines: Effect.Effect<ReadonlyArray<string>>
}>()("@valetkey/testing/LogRecorder") {
  /** Layer that takes the place of the loggers and lowers the level to the lowest. */
  static readonly layer: Layer.Layer<LogRecorder> = Layer.unwrap(Effect.sync(() => {
    const lines: Array<string> = []
    const logger = Logger.make((options) => {
      const line = Logger.formatJson.log(options)
      lines.push(line)
      Emitted.record("logs", line)
    })
    return Layer.mergeAll(
      Layer.succeed(LogRecorder, LogRecorder.of({ lines: Effect.sync(() => [...lines]) })),
      Logger.layer([logger]),
      Layer.succeed(References.MinimumLogLevel, "All")
    )
  }))
}
