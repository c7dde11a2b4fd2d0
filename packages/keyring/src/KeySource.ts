import { Clock, Effect, type Redacted, Result, Schema, Semaphore } from "effect"
import { randomBytes } from "node:crypto"
import * as KeyDescriptor from "./KeyDescriptor.ts"
import * as KeyFile from "./KeyFile.ts"
import * as KeyRing from "./KeyRing.ts"
import { isWrapped, type KeyService, KeyServiceError } from "./KeyService.ts"

/** Failure of a source that holds no key at all. */
export class KeyMissing extends Schema.TaggedError<KeyMissing>("valetkey/KeyMissing")("KeyMissing", {}) {
  readonly code = "encryption_key_missing"
  override get message() {
    return "No encryption key is configured. Set VALETKEY_KEYS to id:base64 of 32 random bytes."
  }
}

/** Why there is no key ring. Each says what to fix; none quotes a key. */
export type KeySourceError =
  | KeyMissing
  | KeyRing.KeyRingError
  | KeyFile.KeyFileError
  | KeyDescriptor.KeyDescriptorError
  | KeyServiceError

/** A key that was made for the configuration: its id, and the entry that every replica has to be given. */
export interface ProposedKey {
  readonly id: number
  readonly entry: string
}

/** Where the key ring comes from. Nothing is read until it is first asked for. */
export interface KeySource {
  /** The ring. It is kept once it was read; a failure is kept for a second, so that a fixed key needs no restart. */
  readonly ring: Effect.Effect<KeyRing.KeyRing, KeySourceError>
  /** Reads the source anew, at most once a second. If that fails, or nothing has changed, the very ring that was there stays. */
  readonly reload: Effect.Effect<KeyRing.KeyRing, KeySourceError>
  /** Makes a key and adds it as the last one; the ring that is there afterwards. Absent where somebody else keeps the keys. */
  readonly add?: Effect.Effect<KeyRing.KeyRing, KeySourceError> | undefined
  /** Makes a key that nobody has seen and holds it nowhere. Absent where no service wraps keys. */
  readonly propose?: Effect.Effect<ProposedKey, KeySourceError> | undefined
}

/** Source over the text of `VALETKEY_KEYS`; undefined and empty are a missing key. */
export const fromText = (keys: Redacted.Redacted | undefined, field?: string): KeySource =>
  make(
    Effect.suspend(() => keys === undefined ? Effect.fail(new KeyMissing({})) : Effect.fromResult(parse(keys, field)))
  )

/** Source over a key file; `create` makes one on first use, `append` lets keys be added to it. */
export const fromFile = (options: {
  readonly path: string
  readonly create: boolean
  readonly append?: boolean | undefined
}): KeySource => {
  const parsed = (keys: Redacted.Redacted) => Effect.fromResult(parse(keys, options.path))
  return make(
    Effect.flatMap(options.create ? KeyFile.readOrCreate(options.path) : KeyFile.read(options.path), parsed),
    options.append === true
      ? Effect.asVoid(Effect.andThen(
        // A file that does not parse is not made longer.
        Effect.flatMap(KeyFile.read(options.path), parsed),
        KeyFile.append(options.path)
      ))
      : undefined
  )
}

/**
 * Source over a descriptor that the parent process opened. It is claimed now, read to its end on first use, and closed;
 * what came of that holds until the process ends.
 */
export const fromDescriptor = (descriptor: number, field?: string): KeySource => {
  const claimed = KeyDescriptor.claim(descriptor, field)
  let outcome: Result.Result<KeyRing.KeyRing, KeySourceError> | undefined
  const read = Effect.suspend(() =>
    outcome !== undefined ? Effect.fromResult(outcome) : claimed.read.pipe(
      Effect.flatMap((text) => Effect.fromResult(parse(text, field ?? "VALETKEY_KEYS_FD"))),
      Effect.result,
      Effect.flatMap((result) => Effect.fromResult(outcome = result)),
      Effect.uninterruptible
    )
  )
  return make(read)
}

/**
 * Source over the text of `VALETKEY_KEYS_WRAPPED`: keys that a service wrapped. They are unwrapped on first use, all or
 * none; from then on the service is not needed any more, and is asked again by no reload.
 */
export const fromWrapped = (options: {
  readonly keys: Redacted.Redacted
  readonly service: KeyService
  readonly field?: string | undefined
}): KeySource => {
  const { keys, service } = options
  const entries = KeyRing.entriesOf(
    keys,
    options.field ?? "VALETKEY_KEYS_WRAPPED",
    (id, wrapped) => isWrapped(wrapped) ? { id, wrapped } : "unwrapped"
  )
  let ring: KeyRing.KeyRing | undefined
  const unwrap = Effect.fnUntraced(function*({ id, wrapped }: { readonly id: number; readonly wrapped: string }) {
    const key = KeyRing.keyOf(id, yield* service.unwrap(wrapped))
    return typeof key === "string" ? yield* new KeyServiceError({ problem: "not_a_key" }) : key
  })
  const read = Effect.gen(function*() {
    if (ring !== undefined) return ring
    if (Result.isFailure(entries)) {
      return yield* entries.failure.problem === "empty"
        ? new KeyMissing({})
        : entries.failure
    }
    return ring = KeyRing.ringOf(yield* Effect.forEach(entries.success, unwrap, { concurrency: 4 }))
  })
  const propose = Effect.map(logged(service.create), (wrapped): ProposedKey => {
    const id = randomBytes(4).readUInt32BE()
    return { id, entry: `${id}:${wrapped}` }
  })
  return { ...make(read), propose }
}

/** Source over any way to read a ring, and perhaps a way to add a key. */
export const make = (
  read: Effect.Effect<KeyRing.KeyRing, KeySourceError>,
  add?: Effect.Effect<void, KeySourceError>
): KeySource => {
  const turn = Semaphore.makeUnsafe(1)
  let ring: KeyRing.KeyRing | undefined
  let last: { readonly at: number; readonly outcome: Result.Result<KeyRing.KeyRing, KeySourceError> } | undefined

  const readUnlessJustRead = Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    if (last === undefined || Math.abs(now - last.at) >= 1000) {
      const found = yield* Effect.result(logged(read))
      // What is kept for a ring stays with it: anybody's junk can have the source read again.
      const outcome = Result.isSuccess(found) && ring !== undefined && KeyRing.equals(ring, found.success)
        ? Result.succeed(ring)
        : found
      // When it ended, not when it began: those who waited for a slow source do not ask it one after the other.
      last = { at: yield* Clock.currentTimeMillis, outcome }
      if (Result.isSuccess(outcome)) ring = outcome.success
    }
    return yield* Effect.fromResult(last.outcome)
  })
  const readRecently = turn.withPermit(readUnlessJustRead)

  return {
    ring: Effect.suspend(() => ring === undefined ? readRecently : Effect.succeed(ring)),
    reload: readRecently,
    add: add === undefined ? undefined : turn.withPermit(
      Effect.andThen(
        add,
        Effect.suspend(() => {
          last = undefined
          return readUnlessJustRead
        })
      )
    )
  }
}

/** Tells the operator why: callers learn only that there is no key. */
const logged = <A, E extends KeySourceError>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.tapError(
    effect,
    (error) => Effect.logWarning("No usable encryption key", { problem: error.code, todo: error.message })
  )

const parse = (keys: Redacted.Redacted, field?: string): Result.Result<KeyRing.KeyRing, KeySourceError> =>
  Result.mapError(
    KeyRing.parse(keys, field),
    (error) => error.problem === "empty" ? new KeyMissing({}) : error
  )
