import { Effect, Schema } from "effect"

/** One step of the story as it happened. */
export interface Step {
  readonly step: string
  /** What was typed or asked; nothing when the step only looks. */
  readonly ran?: string
  /** What came back, in plain words; a token appears as its fingerprint. */
  readonly saw: string
  readonly ok: boolean
  readonly millis: number
}

/** What a step shows: what was run, and what came back. */
export interface Shown {
  readonly ran?: string
  readonly saw: string
}

/** Something was not as told. */
export class NotAsTold extends Schema.TaggedError<NotAsTold>("valetkey/demo/NotAsTold")("NotAsTold", {
  ran: Schema.optionalKey(Schema.String),
  saw: Schema.String
}) {
  override get message() {
    return this.saw
  }
}

/** Tells a story step by step. */
export interface Telling {
  readonly steps: ReadonlyArray<Step>
  /** Runs one step and tells it; the story ends with the first that is not as told. */
  step<A, E, R>(
    name: string,
    act: Effect.Effect<readonly [A, Shown], E | NotAsTold, R>
  ): Effect.Effect<A, E | NotAsTold, R>
}

/** Makes a teller; `say` sees each step as it ends. */
export const make = (say: (step: Step, number: number) => void): Telling => {
  const steps: Array<Step> = []
  const tell = (step: Step) =>
    Effect.sync(() => {
      steps.push(step)
      say(step, steps.length)
    })
  return {
    steps,
    step: (name, act) =>
      Effect.suspend(() => {
        const started = performance.now()
        const millis = () => Math.round(performance.now() - started)
        return act.pipe(
          Effect.tap(([, shown]) => tell({ step: name, ...shown, ok: true, millis: millis() })),
          Effect.tapError((error) =>
            tell({
              step: name,
              ...(error instanceof NotAsTold && error.ran !== undefined ? { ran: error.ran } : {}),
              saw: error instanceof Error ? error.message : String(error),
              ok: false,
              millis: millis()
            })
          ),
          Effect.map(([value]) => value)
        )
      })
  }
}

/** Goes on if it is as told, and ends the step otherwise. */
export const told = (holds: boolean, saw: string, ran?: string): Effect.Effect<void, NotAsTold> =>
  holds ? Effect.void : Effect.fail(new NotAsTold({ saw, ...(ran === undefined ? {} : { ran }) }))
