import { Effect, Schema } from "effect"
import { randomBytes } from "node:crypto"
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync
} from "node:fs"
import { dirname } from "node:path"

/** Error of a file or directory that others could read or exchange, or that cannot be made. */
export class PrivateFilesError
  extends Schema.TaggedError<PrivateFilesError>("valetkey/server/PrivateFilesError")("PrivateFilesError", {
    code: Schema.Literals(["home_not_private", "home_not_writable"]),
    path: Schema.String
  })
{
  override get message() {
    switch (this.code) {
      case "home_not_private":
        return `${this.path} must be a real file or directory that belongs to you and that nobody else can open; fix its owner, or run chmod go-rwx on it`
      case "home_not_writable":
        return `${this.path} cannot be created or written; check its permissions or set VALETKEY_HOME`
    }
  }
}

/** Makes a directory of mode 0700, or checks that the one that is there belongs to this user alone. An empty one is closed to others. */
export const directory = (path: string): Effect.Effect<void, PrivateFilesError> =>
  attempt(path, () => {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    try {
      mkdirSync(path, { mode: 0o700 })
    } catch (error) {
      if (codeOf(error) !== "EEXIST") throw error
    }
    const found = lstatSync(path)
    if (!found.isDirectory() || isForeign(found)) throw new NotPrivate()
    if ((found.mode & 0o077) === 0) return
    // Nobody can have put anything into an empty directory; a used one may hold what others saw or wrote.
    if (readdirSync(path).length > 0) throw new NotPrivate()
    chmodSync(path, 0o700)
  })

/** Reads a file that belongs to this user alone; undefined when there is none. */
export const read = (path: string): Effect.Effect<string | undefined, PrivateFilesError> =>
  Effect.andThen(
    check(path),
    attempt(path, () => existsSync(path) ? readFileSync(path, "utf8").trim() : undefined)
  )

/** Writes a file of mode 0600 in one step: a reader sees the old content or the new one. */
export const write = (path: string, content: string): Effect.Effect<void, PrivateFilesError> =>
  attempt(path, () => {
    const draft = `${path}.${randomBytes(6).toString("hex")}`
    try {
      const file = openSync(draft, "wx", 0o600)
      try {
        writeSync(file, content)
        fsyncSync(file)
      } finally {
        closeSync(file)
      }
      chmodSync(draft, 0o600)
      renameSync(draft, path)
    } catch (error) {
      rmSync(draft, { force: true })
      throw error
    }
  })

/** Fails when the file is there and is a link, belongs to somebody else or is open to others. */
export const check = (path: string): Effect.Effect<void, PrivateFilesError> =>
  attempt(path, () => {
    const found = lstatSync(path, { throwIfNoEntry: false })
    if (found === undefined) return
    if (found.isSymbolicLink() || isForeign(found) || (found.mode & 0o077) !== 0) throw new NotPrivate()
  })

class NotPrivate extends Error {}

const isForeign = (found: { readonly uid: number }): boolean =>
  process.getuid !== undefined && found.uid !== process.getuid()

const attempt = <A>(path: string, act: () => A): Effect.Effect<A, PrivateFilesError> =>
  Effect.try({
    try: act,
    catch: (error) =>
      new PrivateFilesError({ code: error instanceof NotPrivate ? "home_not_private" : "home_not_writable", path })
  })

const codeOf = (error: unknown): unknown => (error as { readonly code?: unknown }).code
