import { ApiProblem } from "@valetkey/api/ApiProblem"
import type { ProxyBody } from "@valetkey/domain/ResourceProxy"
import { Effect, type Scope, Stream } from "effect"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"

/** A body of at most this size is kept, so that it can be sent a second time. */
const replayLimit = 256 * 1024
/** How long the part of a body may take that is read before anything is sent. */
const patience = "30 seconds"

/**
 * The body of a request: as bytes when it ends within the limit, otherwise as it arrives. One that is iterated is read no
 * faster than it is sent on, and breaks off when its caller does.
 */
export const bodyOf = (
  request: HttpServerRequest.HttpServerRequest
): Effect.Effect<ProxyBody, ApiProblem, Scope.Scope> =>
  Effect.gen(function*() {
    const { "content-length": declared, "transfer-encoding": encoding } = request.headers
    if (encoding === undefined && (declared === undefined || declared === "0")) return undefined
    const length = encoding === undefined ? Number(declared) : undefined
    const pieces = yield* Effect.acquireRelease(
      Effect.sync(() => Stream.toAsyncIterable(request.stream)[Symbol.asyncIterator]()),
      (iterator) => Effect.promise(async () => void await iterator.return?.().catch(() => undefined))
    )
    if (length !== undefined && length > replayLimit) return { pieces: rest([], pieces), length }
    return yield* beginning(pieces, length).pipe(
      Effect.timeoutOrElse({ duration: patience, orElse: () => Effect.fail(unreadable) })
    )
  })

/** The body if it ends within the limit, else what came of it and what will come. */
const beginning = Effect.fnUntraced(function*(pieces: AsyncIterator<Uint8Array>, length: number | undefined) {
  const first: Array<Uint8Array> = []
  for (let size = 0; size <= replayLimit;) {
    const piece = yield* Effect.tryPromise({ try: () => pieces.next(), catch: () => unreadable })
    if (piece.done === true) return Buffer.concat(first)
    first.push(piece.value)
    size += piece.value.byteLength
  }
  return { pieces: rest(first, pieces), length }
})

async function* rest(first: ReadonlyArray<Uint8Array>, pieces: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* first
  for (let piece; (piece = await pieces.next()).done !== true;) yield piece.value
}

const unreadable = ApiProblem.of("invalid_request", "The body could not be read in time; send it whole")
