import { Clock, Effect, Redacted, Schema } from "effect"
import { closeSync, constants, fstatSync, openSync, read as readInto, type Stats, writeSync } from "node:fs"

const limit = 64 * 1024
const patience = 5000

/** Failure of a descriptor that was to hold the keys. It names the setting, never what was read. */
export class KeyDescriptorError extends Schema.TaggedError<KeyDescriptorError>("valetkey/KeyDescriptorError")(
  "KeyDescriptorError",
  {
    field: Schema.String,
    problem: Schema.Literals(["standard", "not_open", "not_a_file", "exchanged", "too_large", "late", "io"])
  }
) {
  readonly code = "invalid_key_descriptor"
  override get message() {
    return `${this.field}: ${sentences[this.problem]}`
  }
}

const sentences = {
  standard: "0, 1 and 2 are input, output and log. Open the keys as another descriptor, such as 3<keys.",
  not_open: "the descriptor is not open. Start the server with it, such as 3<keys.",
  not_a_file: "the descriptor is no file or pipe that was opened for this process. Start it with one, such as 3<keys.",
  exchanged: "the descriptor is another one than at the start. Restart the server with it.",
  too_large: "there is more than 64 KiB to read. Give the keys alone, one id:base64 a line.",
  late: "the writer of the pipe did not close it within five seconds. Close it after the keys.",
  io: "the descriptor could not be read. Open it for reading."
} as const

/** A descriptor that was handed to this process. */
export interface KeyDescriptor {
  /** Reads to the end and closes the descriptor, whatever comes of it. There is nothing to read a second time. */
  readonly read: Effect.Effect<Redacted.Redacted, KeyDescriptorError>
}

/**
 * Claims a descriptor that the parent process opened. Call it before this process opens anything itself, so that the
 * number cannot mean one of its own files: it is compared again before it is read.
 */
export const claim = (descriptor: number, field = "VALETKEY_KEYS_FD"): KeyDescriptor => {
  const fail = (problem: KeyDescriptorError["problem"]) => new KeyDescriptorError({ field, problem })
  const claimed = descriptor < 3 ? "standard" : judge(descriptor)
  return {
    read: Effect.gen(function*() {
      if (typeof claimed === "string") return yield* fail(claimed)
      const now = judge(descriptor)
      if (typeof now === "string" || now.dev !== claimed.dev || now.ino !== claimed.ino) return yield* fail("exchanged")
      const text = yield* drain(descriptor, now.isFIFO())
      return typeof text === "string" ? yield* fail(text) : text
    }).pipe(Effect.uninterruptible)
  }
}

const stat = (descriptor: number): Stats | undefined => {
  try {
    return fstatSync(descriptor)
  } catch {
    return undefined
  }
}

const judge = (descriptor: number): Stats | "not_open" | "not_a_file" => {
  const found = stat(descriptor)
  if (found === undefined) return "not_open"
  if (found.isFile()) return found
  // A pipe that is written here as well is one of the runtime's own: reading it would take its signals away.
  const own = Array.from({ length: 64 }, (_, other) => other).some((other) => {
    const end = stat(other)
    return end !== undefined && end.dev === found.dev && end.ino === found.ino && isWritable(other)
  })
  return found.isFIFO() && !own ? found : "not_a_file"
}

/** Whether an end of a pipe is the one to write to. Writing nothing changes nothing. */
const isWritable = (descriptor: number): boolean => {
  try {
    writeSync(descriptor, Buffer.alloc(0))
    return true
  } catch {
    return false
  }
}

/** Reads to the end: the text, or what is wrong. Both descriptors are closed and the bytes overwritten then. */
const drain = (descriptor: number, pipe: boolean): Effect.Effect<Redacted.Redacted | "too_large" | "late" | "io"> =>
  Effect.suspend(() => {
    const bytes = Buffer.alloc(limit + 1)
    const source = pipe ? reopened(descriptor) : descriptor
    return Effect.gen(function*() {
      const end = (yield* Clock.currentTimeMillis) + patience
      let length = 0
      while (length <= limit) {
        const read = yield* readSome(source, bytes, length)
        if (read === "io") return read
        if (read === 0) return Redacted.make(bytes.toString("utf8", 0, length))
        if (read !== "nothing_yet") length += read
        if ((yield* Clock.currentTimeMillis) >= end) return "late"
        if (read === "nothing_yet") yield* Effect.sleep("10 millis")
      }
      return "too_large"
    }).pipe(Effect.ensuring(Effect.sync(() => {
      bytes.fill(0)
      closeSync(descriptor)
      if (source !== descriptor) closeSync(source)
    })))
  })

/** The same pipe, in a way that nobody has to wait in. Where that is not allowed reading waits for the writer. */
const reopened = (descriptor: number): number => {
  try {
    return openSync(`/dev/fd/${descriptor}`, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch {
    return descriptor
  }
}

const readSome = (descriptor: number, bytes: Buffer, at: number): Effect.Effect<number | "nothing_yet" | "io"> =>
  Effect.callback((resume) => {
    readInto(descriptor, bytes, at, bytes.length - at, null, (error, read) => {
      resume(Effect.succeed(error === null ? read : error.code === "EAGAIN" ? "nothing_yet" : "io"))
    })
  })
