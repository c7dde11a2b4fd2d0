import { Clock, Effect, type Redacted, Result, Schema, Semaphore } from "effect"
import * as KeyFile from "./KeyFile.ts"
import * as KeyRing from "./KeyRing.ts"

/** Failure of a source that holds no key at all. */
export class KeyMissing extends Schema.TaggedError<KeyMissing>("valetkey/KeyMissing")("KeyMissing", {}) {
  readonly code = "encryption_key_missing"
  override get message() {
    return "No encryption key is configured. Set VALETKEY_KEYS to id:base64 of 32 random bytes."
  }
}

/** Why there is no key ring. Each says what to fix; none quotes a key. */
export type KeySourceError = KeyMissing | KeyRing.KeyRingError | KeyFile.KeyFileError

/** Where the key ring comes from. Nothing is read until it is first asked for. */
export interface KeySource {
  /** The ring. It is kept once it was read; a failure is kept for a second, so that a fixed key needs no restart. */
  readonly ring: Effect.Effect<KeyRing.KeyRing, KeySourceError>
  /** Reads the source anew, at most once a second. If that fails, the ring that was there stays. */
  readonly reload: Effect.Effect<KeyRing.KeyRing, KeySourceError>
}

/** Source over the text of `VALETKEY_KEYS`; undefined and empty are a missing key. */
export const fromText = (keys: Redacted.Redacted | undefined, field?: string): KeySource =>
  make(
    Effect.suspend(() => keys === undefined ? Effect.fail(new KeyMissing({})) : Effect.fromResult(parse(keys, field)))
  )

/** Source over a key file; `create` makes one on first use. */
export const fromFile = (options: { readonly path: string; readonly create: boolean }): KeySource =>
  make(Effect.flatMap(
    options.create ? KeyFile.readOrCreate(options.path) : KeyFile.read(options.path),
    (keys) => Effect.fromResult(parse(keys, options.path))
  ))

/** Source over any way to read a ring, such as a key service. */
export const make = (read: Effect.Effect<KeyRing.KeyRing, KeySourceError>): KeySource => {
  const turn = Semaphore.makeUnsafe(1)
  let ring: KeyRing.KeyRing | undefined
  let last: { readonly at: number; readonly outcome: Result.Result<KeyRing.KeyRing, KeySourceError> } | undefined

  const readRecently = turn.withPermit(Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    if (last === undefined || Math.abs(now - last.at) >= 1000) {
      const outcome = yield* Effect.result(
        Effect.tapError(read, (error) => Effect.logWarning("No usable encryption key", error.message))
      )
      last = { at: now, outcome }
      if (Result.isSuccess(outcome)) ring = outcome.success
    }
    return yield* Effect.fromResult(last.outcome)
  }))

  return {
    ring: Effect.suspend(() => ring === undefined ? readRecently : Effect.succeed(ring)),
    reload: readRecently
  }
}

const parse = (keys: Redacted.Redacted, field?: string): Result.Result<KeyRing.KeyRing, KeySourceError> =>
  Result.mapError(
    KeyRing.parse(keys, field),
    (error) => error.problem === "empty" ? new KeyMissing({}) : error
  )
