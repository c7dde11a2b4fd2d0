import type { Egress, EgressResponse } from "@valetkey/egress/Egress"
import type { EgressError } from "@valetkey/egress/EgressError"
import { Effect, Stream } from "effect"

/** One request that left, or would have. */
export interface Asked {
  readonly method: string
  readonly url: string
  /** The status, or the code of what went wrong. */
  readonly answer: number | EgressError["code"]
}

/**
 * A client that asks each question once: the answer to the same one again is the first answer. Whoever reads metadata twice
 * reads the same, and what was asked is known.
 */
export const make = (egress: Egress["Service"]) => {
  const asked: Array<Asked> = []
  const answers = new Map<string, Effect.Effect<EgressResponse, EgressError>>()

  const once = (
    kind: "head" | "whole",
    request: { readonly method: string; readonly url: URL | string },
    ask: Effect.Effect<EgressResponse, EgressError>
  ): Effect.Effect<EgressResponse, EgressError> =>
    Effect.suspend(() => {
      const [method, url] = [request.method.toUpperCase(), String(request.url)]
      const key = `${kind} ${method} ${url}`
      const known = answers.get(key)
      if (known !== undefined) return known
      const keep = (answer: Asked["answer"], effect: Effect.Effect<EgressResponse, EgressError>) => {
        asked.push({ method, url, answer })
        answers.set(key, effect)
        return effect
      }
      return Effect.matchEffect(ask, {
        onFailure: (error) => keep(error.code, Effect.fail(error)),
        onSuccess: (response) => keep(response.status, Effect.succeed(response))
      })
    })

  const recorded: Egress["Service"] = {
    admits: egress.admits,
    execute: (request, options) => once("whole", request, egress.execute(request, options)),
    // Of what is streamed here only the head is looked at.
    stream: (request, options) =>
      Effect.map(
        once(
          "head",
          request,
          Effect.scoped(egress.stream(request, options)).pipe(
            Effect.map(({ headers, status }) => ({ headers, status, body: new Uint8Array() }))
          )
        ),
        ({ headers, status }) => ({ headers, status, body: Stream.empty })
      )
  }
  return { asked, egress: recorded }
}
