import { Redacted, Result, Schema } from "effect"
import { closeSync, fstatSync, readSync, type Stats, writeSync } from "node:fs"
import { Socket } from "node:net"

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
  not_a_file: "the descriptor is no file, pipe or socket that was opened for this process. Start it with one.",
  exchanged: "the descriptor is another one than at the start. Restart the server with it.",
  too_large: "there is more than 64 KiB to read. Give the keys alone, one id:base64 a line.",
  late: "the writer of the pipe did not close it within five seconds. Close it after the keys.",
  io: "the descriptor could not be read. Open it for reading."
} as const

/** A descriptor that was handed to this process. */
export interface KeyDescriptor {
  /** Reads to the end and closes the descriptor, whatever comes of it. There is nothing to read a second time. */
  readonly read: () => Promise<Result.Result<Redacted.Redacted, KeyDescriptorError>>
}

/**
 * Claims a descriptor that the parent process opened. Call it before this process opens anything itself, so that the
 * number cannot mean one of its own files: it is compared again before it is read.
 */
export const claim = (descriptor: number, field = "VALETKEY_KEYS_FD"): KeyDescriptor => {
  const fail = (problem: KeyDescriptorError["problem"]) => Result.fail(new KeyDescriptorError({ field, problem }))
  const claimed = descriptor < 3 ? "standard" : judge(descriptor)
  return {
    read: async () => {
      if (typeof claimed === "string") return fail(claimed)
      const now = judge(descriptor)
      if (typeof now === "string" || now.dev !== claimed.dev || now.ino !== claimed.ino) return fail("exchanged")
      const read = now.isFile() ? readFile(descriptor) : await readStream(descriptor)
      if (typeof read === "string") return fail(read)
      const text = Redacted.make(read.toString("utf8"))
      read.fill(0)
      return Result.succeed(text)
    }
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
  if (found.isFile() || found.isSocket()) return found
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

const readFile = (descriptor: number): Buffer | "too_large" | "io" => {
  const bytes = Buffer.alloc(limit + 1)
  try {
    let length = 0
    let read = 0
    do {
      read = readSync(descriptor, bytes, length, bytes.length - length, null)
      length += read
    } while (read > 0 && length < bytes.length)
    return length > limit ? "too_large" : Buffer.from(bytes.subarray(0, length))
  } catch {
    return "io"
  } finally {
    bytes.fill(0)
    closeSync(descriptor)
  }
}

const readStream = (descriptor: number): Promise<Buffer | "too_large" | "late" | "io"> =>
  new Promise((resolve) => {
    const chunks: Array<Buffer> = []
    let length = 0
    const socket = new Socket({ fd: descriptor, readable: true, writable: false })
    const end = (outcome: Buffer | "too_large" | "late" | "io") => {
      clearTimeout(timer)
      for (const chunk of chunks) chunk.fill(0)
      socket.destroy()
      resolve(outcome)
    }
    const timer = setTimeout(() => end("late"), patience)
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk)
      length += chunk.length
      if (length > limit) end("too_large")
    })
    socket.on("end", () => end(Buffer.concat(chunks)))
    socket.on("error", () => end("io"))
  })
