import { ExchangeDeadlines } from "@valetkey/domain/ExchangeDeadlines"
import { trustOf } from "@valetkey/egress/AddressPolicy"
import type { Egress } from "@valetkey/egress/Egress"
import { EgressError } from "@valetkey/egress/EgressError"
import { Clock, Deferred, type Duration, Effect, Schema } from "effect"
import { egressOptions } from "./outbound.ts"

/** How many key sets are remembered; a forgotten one costs a request. */
const capacity = 100
/** The largest key set that is read, in bytes: dozens of keys with their certificates. */
const maxBytes = 128 * 1024
/** How long a copy is used; as long is a key believed that its owner withdrew. */
const lifetime = 5 * 60_000
/** How young a copy may be to be read again for a key that it lacks: anybody can name one. */
const floor = 60_000
/** How long nobody asks after a place failed to give its keys. */
const rest = 5000

const Keys = Schema.Struct({ keys: Schema.Array(Schema.Record(Schema.String, Schema.Unknown)) })
const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(Keys))

/** A key set as it was read. */
export interface KeySet {
  /** Milliseconds since the epoch. */
  readonly readAt: number
  readonly jwks: typeof Keys.Type
}

/** Where a key set is: `origin` is the URL that led there and decides what may be reached. */
export interface KeyPlace {
  readonly jwksUri: string
  readonly origin: string
}

/**
 * Key sets of authorization servers, shared by everybody who may reach their place in the same way. Everyone waits for
 * the same request; a copy is given up for a newer one or for its age, never for what a token or a failure says.
 */
export interface KeySets {
  /** The copy at hand, else what the place says now. */
  current(place: KeyPlace): Effect.Effect<KeySet, KeysUnavailable | EgressError>
  /** A newer set than this one, which lacks a key; the same where it is too young to ask again. */
  newer(place: KeyPlace, than: KeySet): Effect.Effect<KeySet, KeysUnavailable | EgressError>
}

interface Entry {
  copy: KeySet | undefined
  reading: Deferred.Deferred<KeySet, KeysUnavailable | EgressError> | undefined
  failed: { readonly at: number; readonly error: KeysUnavailable | EgressError } | undefined
}

/** Makes the key sets of one process. */
export const makeKeySets = (egress: Egress["Service"], deadline: Duration.Duration): KeySets => {
  const entries = new Map<string, Entry>()

  const entryOf = ({ jwksUri, origin }: KeyPlace): Entry => {
    const name = `${trustOf(origin)} ${jwksUri}`
    const entry = entries.get(name) ?? { copy: undefined, reading: undefined, failed: undefined }
    entries.delete(name)
    if (entries.size >= capacity) entries.delete(entries.keys().next().value!)
    entries.set(name, entry)
    return entry
  }

  const ask = Effect.fnUntraced(function*({ jwksUri, origin }: KeyPlace) {
    const { body, status } = yield* egress.execute(
      { method: "GET", url: jwksUri, headers: { accept: "application/json, application/jwk-set+json" } },
      { ...egressOptions(origin, deadline), maxBytes }
    )
    if (status !== 200) return yield* Effect.fail(new KeysUnavailable(`status ${status}`, status >= 500))
    return yield* Effect.mapError(
      decode(new TextDecoder().decode(body)),
      () => new KeysUnavailable("what is no key set", false)
    )
  })

  /** Asks once more where that may help, all of it within the time that there is to verify. */
  const read = (place: KeyPlace) =>
    ask(place).pipe(
      Effect.retry({ times: 1, while: isPassing }),
      Effect.timeoutOrElse({
        duration: ExchangeDeadlines.standard.verifying,
        orElse: () => Effect.fail(new KeysUnavailable("nothing in time", false))
      })
    )

  /** Reads for everybody, in a fiber of its own: whoever asked first may leave. */
  const reading = Effect.fnUntraced(function*(place: KeyPlace, entry: Entry) {
    if (entry.reading !== undefined) return yield* Deferred.await(entry.reading)
    const now = yield* Clock.currentTimeMillis
    if (entry.failed !== undefined && now - entry.failed.at < rest) return yield* Effect.fail(entry.failed.error)
    const answer = entry.reading = Deferred.makeUnsafe()
    yield* Effect.forkDetach(
      read(place).pipe(
        Effect.flatMap((jwks) => Effect.map(Clock.currentTimeMillis, (readAt): KeySet => ({ readAt, jwks }))),
        Effect.tap((copy) => Effect.sync(() => Object.assign(entry, { copy, failed: undefined }))),
        Effect.tapError((error) =>
          Effect.map(Clock.currentTimeMillis, (at) => {
            entry.failed = { at, error }
          })
        ),
        Effect.onExit((exit) =>
          Effect.sync(() => {
            entry.reading = undefined
            Deferred.doneUnsafe(answer, exit)
          })
        )
      ),
      { startImmediately: true }
    )
    return yield* Deferred.await(answer)
  })

  return {
    current: Effect.fnUntraced(function*(place) {
      const entry = entryOf(place)
      const { copy } = entry
      return copy !== undefined && (yield* Clock.currentTimeMillis) - copy.readAt < lifetime
        ? copy
        : yield* reading(place, entry)
    }),
    newer: Effect.fnUntraced(function*(place, than) {
      const entry = entryOf(place)
      const { copy } = entry
      if (copy !== undefined && copy !== than) return copy
      return (yield* Clock.currentTimeMillis) - than.readAt < floor ? than : yield* reading(place, entry)
    })
  }
}

/** Whether the same request may go well at once: not what is refused, nor what a server that has enough of it says. */
const isPassing = (error: KeysUnavailable | EgressError): boolean =>
  error instanceof EgressError
    ? error.reason._tag === "Interrupted" || error.reason._tag === "Unreachable"
    : error.isPassing

/** Error of a place that has no key set to give. */
export class KeysUnavailable extends Error {
  readonly _tag = "KeysUnavailable"
  readonly isPassing: boolean

  constructor(answer: string, isPassing: boolean) {
    super(`The keys are answered with ${answer}`)
    this.isPassing = isPassing
  }
}
