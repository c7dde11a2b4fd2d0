import { Duration, Effect } from "effect"
import * as Sse from "effect/encoding/Sse"
import { RelayFailure } from "../RelayFailure.ts"
import { type Message, parse } from "./rpc.ts"

/** How far a stream of events was read: what a resumption names. */
export interface Progress {
  lastEventId: string | undefined
  /** How long the server wants to be left alone before a resumption, within reason. */
  pauseMillis: number | undefined
}

/** The longest message that is passed on. */
const longest = 64 * 1024 * 1024

/**
 * Passes on what a response carries, message by message: the next one is read when the last was taken. A stream of events
 * that breaks off ends like one that is complete; whoever misses something resumes.
 */
export const read = <E>(
  response: Response,
  progress: Progress,
  take: (message: Message) => Effect.Effect<void, E>
): Effect.Effect<void, E | RelayFailure> => {
  const { body, headers, status } = response
  switch (headers.get("content-type")?.split(";", 1)[0]?.trim().toLowerCase()) {
    case "text/event-stream":
      return body === null ? Effect.void : events(body, progress, take)
    case "application/json":
      return Effect.gen(function*() {
        const text = yield* whole(response, longest)
        const messages = text === undefined ? undefined : parse(text)
        if (messages === undefined) return yield* new RelayFailure({ code: "resource_response_refused", status })
        yield* Effect.forEach(messages, take, { discard: true })
      })
    default:
      return Effect.andThen(
        discard(response),
        status === 202 || status === 204
          ? Effect.void
          : Effect.fail(new RelayFailure({ code: "resource_response_refused", status }))
      )
  }
}

/** The whole text of a response; undefined when it is longer than it may be. */
export const whole = (response: Response, limit: number): Effect.Effect<string | undefined, RelayFailure> => {
  let text = ""
  return response.body === null ? Effect.succeed("") : chunks(response.body, (chunk) => {
    text += chunk
    return Effect.succeed(text.length <= limit)
  }).pipe(
    Effect.map(() => text.length <= limit ? text : undefined),
    Effect.catch(() => Effect.fail(new RelayFailure({ code: "resource_interrupted" })))
  )
}

/** Lets go of a response that nobody reads. */
export const discard = ({ body }: Response): Effect.Effect<void> =>
  Effect.promise(async () => await body?.cancel().catch(() => undefined))

const events = <E>(
  body: ReadableStream<Uint8Array>,
  progress: Progress,
  take: (message: Message) => Effect.Effect<void, E>
): Effect.Effect<void, E | RelayFailure> => {
  const found: Array<Sse.AnyEvent> = []
  const parser = Sse.makeParser((event) => found.push(event), { maxEventSize: longest })
  return chunks(body, (chunk) =>
    Effect.gen(function*() {
      if (parser.feed(chunk) !== undefined) return yield* new RelayFailure({ code: "resource_response_refused" })
      for (const event of found.splice(0)) {
        if (event._tag === "Retry") {
          progress.pauseMillis = Math.min(Math.max(Duration.toMillis(event.duration), 100), 60_000)
          continue
        }
        const messages = event.event === "message" && event.data !== "" ? parse(event.data) ?? [] : []
        yield* Effect.forEach(messages, take, { discard: true })
        // What was not taken is asked for again.
        if (event.id !== undefined && event.id !== "") progress.lastEventId = event.id
      }
      return true
    })).pipe(Effect.catchIf((error): error is Broken => error instanceof Broken, () => Effect.void))
}

class Broken {
  readonly _tag = "Broken"
}

/** Reads text until the end or until nobody wants more; an interrupt ends the request that the body belongs to. */
const chunks = <E>(
  body: ReadableStream<Uint8Array>,
  take: (chunk: string) => Effect.Effect<boolean, E>
): Effect.Effect<void, E | Broken> =>
  Effect.acquireUseRelease(
    Effect.sync(() => body.getReader()),
    (reader) =>
      Effect.gen(function*() {
        const decoder = new TextDecoder()
        while (true) {
          const { done, value } = yield* Effect.tryPromise({ try: () => reader.read(), catch: () => new Broken() })
          if (done || !(yield* take(decoder.decode(value, { stream: true })))) return
        }
      }),
    (reader) => Effect.promise(() => reader.cancel().catch(() => undefined))
  )
