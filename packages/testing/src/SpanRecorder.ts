import { Cause, Context, Effect, Exit, Layer, Tracer } from "effect"
import * as Emitted from "./Emitted.ts"

/** A span as an exporter would see it. */
export interface RecordedSpan {
  readonly name: string
  readonly attributes: Readonly<Record<string, unknown>>
  readonly events: ReadonlyArray<{ readonly name: string; readonly attributes: Readonly<Record<string, unknown>> }>
  /** The failure as text, stack included; absent while the span runs and after success. */
  readonly failure: string | undefined
}

/** Records every span, attributes and events included, and hands them to the canary scan. */
export class SpanRecorder extends Context.Service<SpanRecorder, {
  /** Spans in the order they were started. */
  readonly spans: Effect.Effect<ReadonlyArray<RecordedSpan>>
  /** Everything that was recorded as one text, to look for what must not be there. */
  readonly text: Effect.Effect<string>
}>()("@valetkey/testing/SpanRecorder") {
  /** Layer that is the tracer of everything it is provided to. */
  static readonly layer: Layer.Layer<SpanRecorder> = Layer.effectContext(Effect.sync(() => {
    const started: Array<Tracer.NativeSpan> = []
    const tracer = Tracer.make({
      span: (options) => {
        const span = new RecordingSpan(options)
        started.push(span)
        return span
      }
    })
    const spans = Effect.sync(() => started.map(recorded))
    const recorder = SpanRecorder.of({ spans, text: Effect.map(spans, encode) })
    return Context.make(SpanRecorder, recorder).pipe(Context.add(Tracer.Tracer, tracer))
  }))
}

class RecordingSpan extends Tracer.NativeSpan {
  override end(endTime: bigint, exit: Exit.Exit<unknown, unknown>): void {
    super.end(endTime, exit)
    Emitted.record("spans", encode(recorded(this)))
  }
}

const recorded = (span: Tracer.NativeSpan): RecordedSpan => ({
  name: span.name,
  attributes: Object.fromEntries(span.attributes),
  events: span.events.map(([name, , attributes]) => ({ name, attributes })),
  failure: span.status._tag === "Ended" && Exit.isFailure(span.status.exit)
    ? Cause.pretty(span.status.exit.cause)
    : undefined
})

const encode = (value: unknown): string =>
  JSON.stringify(value, (_, member: unknown) => typeof member === "bigint" ? String(member) : member)
