import { Effect, Queue, Redacted } from "effect"
import { readFileSync } from "node:fs"
import { type CliFailure, failure } from "./CliFailure.ts"

// The address of an authorization response holds a code and a state: it comes by stdin alone, and is never shown.

/** The longest address that is read. The server's limit is lower. */
const longest = 64 * 1024

/** Whether a person can paste here: a terminal that this command may read. */
export const isOffered = (): boolean => process.stdin.isTTY === true && isForeground()

/**
 * Passes on each line that a person pastes at the terminal, for as long as it runs. `ask` comes when the terminal shows
 * nothing of it any more: whoever is asked may be quick.
 */
export const each = <R>(
  ask: Effect.Effect<void, never, R>,
  take: (url: Redacted.Redacted) => Effect.Effect<void, never, R>
): Effect.Effect<never, never, R> =>
  Effect.scoped(Effect.gen(function*() {
    const lines = yield* Queue.unbounded<Redacted.Redacted>()
    yield* Effect.acquireRelease(
      Effect.sync(() => listen((line) => Queue.offerUnsafe(lines, line))),
      (stop) => Effect.sync(stop)
    )
    yield* ask
    return yield* Effect.forever(Effect.flatMap(Queue.take(lines), take))
  }))

/** The one address on stdin: a line of a file or a pipe, or what a person pastes at the terminal. */
export const read: Effect.Effect<Redacted.Redacted, CliFailure> = Effect.suspend(() =>
  process.stdin.isTTY
    ? Effect.callback<Redacted.Redacted>((resume) => {
      const stop = listen((line) => {
        stop()
        resume(Effect.succeed(line))
      })
      return Effect.sync(stop)
    })
    : Effect.flatMap(Effect.promise(all), (text) => {
      const lines = (text ?? "").split("\n").map((line) => line.trim()).filter((line) => line !== "")
      return text === undefined || lines.length !== 1
        ? Effect.fail(failure("usage", "stdin must hold one line: the whole address where the browser ended"))
        : Effect.succeed(Redacted.make(lines[0]!))
    })
)

const all = async (): Promise<string | undefined> => {
  const chunks: Array<Buffer> = []
  let size = 0
  for await (const chunk of process.stdin) {
    chunks.push(Buffer.from(chunk))
    size += chunks.at(-1)!.length
    if (size > longest) return undefined
  }
  return Buffer.concat(chunks).toString("utf8")
}

/**
 * Reads lines without showing them, key by key: a terminal that gathers lines by itself cuts them at 4096 bytes, and shows
 * what it gathers. Interrupting and correcting are then up to the reader.
 */
const listen = (onLine: (line: Redacted.Redacted) => void): () => void => {
  const { stdin } = process
  let typed = ""
  const onData = (chunk: string) => {
    for (const key of chunk) {
      if (key === "\u0003") process.kill(process.pid, "SIGINT")
      else if (key === "\u007f" || key === "\b") typed = typed.slice(0, -1)
      else if (key === "\u0015") typed = ""
      else if (key !== "\r" && key !== "\n") typed = (typed + key).slice(0, longest)
      else {
        if (typed.trim() !== "") onLine(Redacted.make(typed.trim()))
        typed = ""
      }
    }
  }
  stdin.setRawMode(true).setEncoding("utf8").on("data", onData).resume()
  return () => void stdin.off("data", onData).setRawMode(false).pause()
}

/** A job in the background would be stopped by the terminal as soon as it changed its mode. */
const isForeground = (): boolean => {
  try {
    const fields = readFileSync("/proc/self/stat", "latin1").split(") ").at(-1)?.split(" ") ?? []
    return fields[2] === fields[5]
  } catch {
    // Elsewhere nothing says so without a call of the system's own.
    return true
  }
}
