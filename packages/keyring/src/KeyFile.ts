import { Effect, Redacted, Schema } from "effect"
import { randomBytes } from "node:crypto"
import { constants } from "node:fs"
import { link, lstat, mkdir, open, rename, rm } from "node:fs/promises"
import { dirname } from "node:path"

/** Failure of reading or making the key file. Nothing is repaired: a file that others could reach is not a secret. */
export class KeyFileError extends Schema.TaggedError<KeyFileError>("valetkey/KeyFileError")("KeyFileError", {
  path: Schema.String,
  problem: Schema.Literals(["missing", "not_a_file", "loose_mode", "foreign_owner", "loose_directory", "io"])
}) {
  get code() {
    return this.problem === "missing" ? "encryption_key_missing" as const : "invalid_key_file" as const
  }
  override get message() {
    return `${this.path}: ${sentences[this.problem]}`
  }
}

const sentences = {
  missing: "the key file is not there. Restore it from a backup.",
  not_a_file: "the key file is not a regular file; links are not followed. Put the file itself there.",
  loose_mode:
    "others can read or change the key file. Run `chmod 600` on it, and replace the key if they may have read it.",
  foreign_owner: "the key file belongs to another user. Change its owner, or run as that user.",
  loose_directory: "others can change the directory of the key file. Run `chmod 700` on it.",
  io: "the key file could not be read or written. Check the file system and the permissions."
} as const

/** Reads a key file of this user's with mode 0600. */
export const read = (path: string): Effect.Effect<Redacted.Redacted, KeyFileError> =>
  Effect.tryPromise({ try: () => readSecret(path), catch: (cause) => errorOf(path, cause) })

/**
 * Reads a key file, and makes one with a fresh key on first use.
 *
 * The file appears whole or not at all, and of several processes that race one wins: all return the key that is there.
 */
export const readOrCreate = (path: string): Effect.Effect<Redacted.Redacted, KeyFileError> =>
  Effect.catchIf(
    read(path),
    (error) => error.problem === "missing",
    () =>
      Effect.andThen(Effect.tryPromise({ try: () => create(path), catch: (cause) => errorOf(path, cause) }), read(path))
  )

/** Adds a fresh key as the last line of a key file. The file is the old one or the new one at every instant. */
export const append = (path: string): Effect.Effect<void, KeyFileError> =>
  Effect.tryPromise({
    try: async () => {
      const text = Redacted.value(await readSecret(path)).trimEnd()
      await place(path, `${text}\n${freshLine()}`, (draft) => rename(draft, path))
    },
    catch: (cause) => errorOf(path, cause)
  })

class Problem extends Error {
  readonly problem: KeyFileError["problem"]
  constructor(problem: KeyFileError["problem"]) {
    super(problem)
    this.problem = problem
  }
}

const errorOf = (path: string, cause: unknown): KeyFileError => {
  const code = (cause as NodeJS.ErrnoException | undefined)?.code
  const problem = cause instanceof Problem
    ? cause.problem
    : code === "ENOENT"
    ? "missing"
    : code === "ELOOP" || code === "EISDIR" || code === "ENXIO"
    ? "not_a_file"
    : "io"
  return new KeyFileError({ path, problem })
}

const uid = process.getuid?.()

const readSecret = async (path: string): Promise<Redacted.Redacted> => {
  // Non-blocking, so that a FIFO in the file's place is refused and not waited for.
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const stat = await handle.stat()
    if (!stat.isFile() || stat.size > 64 * 1024) throw new Problem("not_a_file")
    if (uid !== undefined && stat.uid !== uid) throw new Problem("foreign_owner")
    if (uid !== undefined && (stat.mode & 0o077) !== 0) throw new Problem("loose_mode")
    await checkDirectory(dirname(path))
    const bytes = await handle.readFile()
    try {
      return Redacted.make(bytes.toString("utf8"))
    } finally {
      bytes.fill(0)
    }
  } finally {
    await handle.close()
  }
}

const checkDirectory = async (directory: string): Promise<void> => {
  const stat = await lstat(`${directory}/.`)
  const owned = uid === undefined || stat.uid === uid || stat.uid === 0
  if (!owned || (uid !== undefined && (stat.mode & 0o022) !== 0)) throw new Problem("loose_directory")
}

const create = async (path: string): Promise<void> => {
  const directory = dirname(path)
  await mkdir(directory, { recursive: true, mode: 0o700 })
  await checkDirectory(directory)
  // Unlike a rename, a link never replaces the file of a process that was faster.
  await place(path, freshLine(), (draft) =>
    link(draft, path).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code !== "EEXIST") throw cause
    }))
}

/** A key with a random id, so that values sealed under a key file that was lost are told apart from damaged ones. */
const freshLine = (): string => {
  const bytes = randomBytes(32)
  const line = `${randomBytes(4).readUInt32BE()}:${bytes.toString("base64")}\n`
  bytes.fill(0)
  return line
}

/** Writes a draft beside the file, whole and on disk, and puts it in place. */
const place = async (path: string, text: string, put: (draft: string) => Promise<void>): Promise<void> => {
  const draft = `${path}.${randomBytes(8).toString("hex")}.tmp`
  const handle = await open(
    draft,
    constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
    0o600
  )
  try {
    await handle.writeFile(text)
    await handle.sync()
    await put(draft)
  } finally {
    await handle.close()
    await rm(draft, { force: true })
  }
  const folder = await open(dirname(path), constants.O_RDONLY)
  await folder.sync().finally(() => folder.close())
}
