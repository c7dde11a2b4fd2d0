import { Redacted } from "effect"
import type { EgressRequest } from "../Egress.ts"

/** The body of a request, with the number of pieces that were asked for so far: whether it moves. */
export class Upload {
  pieces = 0
  /** As undici takes it; its types know only Node's own streams of the iterables that it takes. */
  readonly body: Uint8Array | string | null

  constructor(body: EgressRequest["body"]) {
    this.body = body === undefined
      ? null
      : Redacted.isRedacted(body)
      ? Redacted.value(body as Redacted.Redacted)
      : isIterated(body)
      ? this.#counted(body) as never
      : body as Uint8Array | string
  }

  async *#counted(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const piece of body) {
      this.pieces++
      yield piece
    }
    this.pieces++
  }
}

const isIterated = (body: NonNullable<EgressRequest["body"]>): body is AsyncIterable<Uint8Array> =>
  typeof body === "object" && Symbol.asyncIterator in body
