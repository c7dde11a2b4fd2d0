import { Egress, type EgressRequest } from "@valetkey/egress/Egress"
import { Effect, Layer, Stream } from "effect"
import type { Head } from "./Inputs.ts"

/** What a request is answered with. */
export interface Scripted extends Head {
  readonly body: string
}

/** The guarded client's place, with answers that no server could be made to give a million times in minutes. */
export const layer = (answer: (request: EgressRequest) => Scripted): Layer.Layer<Egress> => {
  const reply = (request: EgressRequest) =>
    Effect.sync(() => {
      const { body, headers, status } = answer(request)
      return { status, headers, body: new TextEncoder().encode(body) }
    })
  return Layer.succeed(
    Egress,
    Egress.of({
      admits: () => Effect.void,
      execute: reply,
      stream: (request) => Effect.map(reply(request), (whole) => ({ ...whole, body: Stream.make(whole.body) }))
    })
  )
}
