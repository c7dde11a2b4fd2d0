import { Cause, Deferred, Effect, Queue } from "effect"
import type { Dispatcher } from "undici"
import { EgressError, Interrupted, type Reason, Refused, Timeout, Unreachable } from "../EgressError.ts"
import { Refusal } from "./guard.ts"

/** Status line and headers of a final response. */
export interface Head {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
}

/** How many bytes of a response wait for its reader before the socket is paused. */
const highWater = 256 * 1024

/**
 * One request on its way through undici.
 *
 * undici calls `onRequestStart` right before it writes the first byte, so `sent` is set there and nowhere else. A request
 * that was ended before that is never written, and none is written twice.
 */
export class Exchange implements Dispatcher.DispatchHandler {
  sent = false
  #ended = false
  #headed = false
  #buffered = 0
  #controller: Dispatcher.DispatchController | undefined
  readonly #head: Deferred.Deferred<Head, EgressError>
  readonly #body: Queue.Queue<Uint8Array, EgressError | Cause.Done>

  constructor(head: Deferred.Deferred<Head, EgressError>, body: Queue.Queue<Uint8Array, EgressError | Cause.Done>) {
    this.#head = head
    this.#body = body
  }

  static readonly make = Effect.gen(function*() {
    return new Exchange(
      yield* Deferred.make<Head, EgressError>(),
      yield* Queue.unbounded<Uint8Array, EgressError | Cause.Done>()
    )
  })

  /** Waits for the final response's head. */
  get head(): Effect.Effect<Head, EgressError> {
    return Deferred.await(this.#head)
  }

  /** The next piece of the body; fails with `Done` at its end. */
  get next(): Effect.Effect<Uint8Array, EgressError | Cause.Done> {
    return Effect.tap(Queue.take(this.#body), (chunk) => Effect.sync(() => this.#taken(chunk.byteLength)))
  }

  /** Ends the exchange unless it has ended: its readers fail with the reason and its socket is destroyed. */
  end(reason: (sent: boolean) => typeof Reason.Type): EgressError {
    const error = new EgressError({ reason: reason(this.sent) })
    this.#finish(Effect.fail(error), () => Queue.failCauseUnsafe(this.#body, Cause.fail(error)))
    this.#controller?.abort(error)
    return error
  }

  /** Ends the exchange as one that nobody waits for any more. One that has ended by itself costs nothing. */
  close(): void {
    if (!this.#ended) this.end(interrupted)
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#ended) return controller.abort(new Error("ended before it was sent"))
    if (this.sent) {
      this.end((sent) => new Interrupted({ sent, detail: "RETRY_REFUSED" }))
      return
    }
    this.sent = true
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: Headers): void {
    if (this.#ended || status < 200) return
    this.#headed = true
    Deferred.doneUnsafe(this.#head, Effect.succeed({ status, headers: flatten(headers) }))
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Uint8Array): void {
    if (this.#ended) return
    this.#buffered += chunk.byteLength
    if (this.#buffered > highWater) controller.pause()
    Queue.offerUnsafe(this.#body, chunk)
  }

  onResponseEnd(): void {
    if (!this.#headed) {
      this.end((sent) => new Interrupted({ sent, detail: "NO_RESPONSE" }))
      return
    }
    this.#finish(Effect.never, () => Queue.endUnsafe(this.#body))
  }

  onResponseError(_: Dispatcher.DispatchController | null, error: Error): void {
    this.end((sent) => reasonOf(error, sent))
  }

  #finish(head: Effect.Effect<Head, EgressError>, body: () => void): void {
    if (this.#ended) return
    this.#ended = true
    if (!this.#headed) Deferred.doneUnsafe(this.#head, head)
    body()
  }

  #taken(bytes: number): void {
    this.#buffered -= bytes
    if (this.#buffered <= highWater && this.#controller?.paused === true) this.#controller.resume()
  }
}

/** Why an exchange ends that its owner gave up. */
export const interrupted = (sent: boolean) => new Interrupted({ sent, detail: "ABORTED" })

type Headers = Readonly<Record<string, string | ReadonlyArray<string> | undefined>>

/** Joins repeated headers. Cookies are left out: this client has no place for them. */
const flatten = (headers: Headers): Readonly<Record<string, string>> => {
  const flat: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || name === "set-cookie") continue
    flat[name] = typeof value === "string" ? value : value.join(", ")
  }
  return flat
}

/** Only the code of an error is kept: messages of Node and undici quote headers and URLs. */
const reasonOf = (error: Error, sent: boolean): typeof Reason.Type => {
  if (error instanceof Refusal) return new Refused({ rule: error.rule })
  const detail = codeOf(error)
  switch (detail) {
    case "UND_ERR_CONNECT_TIMEOUT":
      return new Timeout({ sent, phase: "connect" })
    case "UND_ERR_HEADERS_TIMEOUT":
      return new Timeout({ sent, phase: "headers" })
    case "UND_ERR_BODY_TIMEOUT":
      return new Timeout({ sent, phase: "body" })
    case "UND_ERR_INVALID_ARG":
    case "UND_ERR_NOT_SUPPORTED":
      return sent ? new Interrupted({ sent, detail }) : new Refused({ rule: "request" })
  }
  return sent ? new Interrupted({ sent, detail }) : new Unreachable({ detail })
}

const codeOf = (error: Error): string => {
  const code = (error as NodeJS.ErrnoException).code
  return typeof code === "string" && /^[A-Z0-9_]{1,64}$/.test(code) ? code : "UNKNOWN"
}
