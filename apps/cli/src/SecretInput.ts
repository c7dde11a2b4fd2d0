import { passphraseLength } from "@valetkey/domain/ArchiveLimits"
import { Effect, Option, Redacted } from "effect"
import { closeSync, fstatSync, openSync, readFileSync } from "node:fs"
import { type CliFailure, failure } from "./CliFailure.ts"

/** Where a passphrase is to be read. An argument or a variable is no such place: others could read it there. */
export interface PassphraseInput {
  readonly passphraseFile: Option.Option<string>
  readonly passphraseStdin: boolean
}

/** Reads the passphrase; undefined when none was named. */
export const readPassphrase = Effect.fnUntraced(function*({ passphraseFile, passphraseStdin }: PassphraseInput) {
  if (Option.isSome(passphraseFile)) return Redacted.make(firstLine(yield* readPrivate(passphraseFile.value)))
  if (!passphraseStdin) return undefined
  return Redacted.make(firstLine(Buffer.from(yield* readStdin).toString("utf8")))
})

/** Checks the length of a passphrase that will seal something. */
export const checkPassphrase = (passphrase: Redacted.Redacted): Effect.Effect<void, CliFailure> => {
  const { length } = Redacted.value(passphrase)
  return length >= passphraseLength.minimum && length <= passphraseLength.maximum
    ? Effect.void
    : Effect.fail(failure(
      "passphrase_short",
      `A passphrase has ${passphraseLength.minimum} to ${passphraseLength.maximum} characters; take five random words or more`
    ))
}

/** Reads the identities of a file in age's own form: one a line, with comments. */
export const readIdentities = (path: string): Effect.Effect<ReadonlyArray<Redacted.Redacted>, CliFailure> =>
  Effect.flatMap(readPrivate(path), (text) => {
    const lines = text.split(/\r?\n/).map((line) => line.trim()).filter((line) => line !== "" && !line.startsWith("#"))
    return lines.length === 0 || !lines.every((line) => line.startsWith("AGE-SECRET-KEY-"))
      ? Effect.fail(failure(
        "identity_invalid",
        "The identity file holds something that is no age identity; each line begins with AGE-SECRET-KEY-"
      ))
      : Effect.succeed(lines.map((line) => Redacted.make(line)))
  })

/** Everything on stdin, no more than the largest archive with its armour. */
export const readStdin: Effect.Effect<Uint8Array, CliFailure> = Effect.flatMap(
  Effect.promise(async () => {
    const chunks: Array<Buffer> = []
    let size = 0
    for await (const chunk of process.stdin) {
      chunks.push(Buffer.from(chunk))
      size += chunks.at(-1)!.length
      if (size > maxInput) return undefined
    }
    return Buffer.concat(chunks)
  }),
  (bytes) =>
    bytes === undefined
      ? Effect.fail(
        failure("archive_too_large", "There is more on stdin than any archive that Valetkey writes; split it")
      )
      : Effect.succeed(bytes)
)

/** The most bytes that a command reads of a file or of stdin. */
export const maxInput = 8 * 1024 * 1024

/** Reads a small file, or a pipe of the shell, that this user owns and nobody else can read. */
const readPrivate = (path: string): Effect.Effect<string, CliFailure> =>
  Effect.try({
    try: () => {
      const file = openSync(path, "r")
      try {
        const found = fstatSync(file)
        const foreign = process.getuid !== undefined && found.uid !== process.getuid()
        if (!(found.isFile() || found.isFIFO()) || foreign || (found.mode & 0o077) !== 0) return undefined
        return readFileSync(file, "utf8")
      } finally {
        closeSync(file)
      }
    },
    catch: () => failure("secret_unreadable", `${path} cannot be read; check its name and its permissions`)
  }).pipe(
    Effect.flatMap((text) =>
      text === undefined
        ? Effect.fail(failure(
          "secret_not_private",
          `${path} must be a file that belongs to you and that nobody else can read; run chmod 600 on it`
        ))
        : Effect.succeed(text)
    )
  )

/** Editors end a file with a line break that nobody typed. */
const firstLine = (text: string): string => text.replace(/\r?\n$/, "")
