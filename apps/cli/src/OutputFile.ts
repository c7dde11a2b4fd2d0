import { Effect } from "effect"
import { randomBytes } from "node:crypto"
import { closeSync, existsSync, fsyncSync, linkSync, lstatSync, openSync, renameSync, rmSync, writeSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { type CliFailure, failure } from "./CliFailure.ts"

/** Checks that a file may be written, before anything is asked for that should end in it. */
export const check = (path: string, force: boolean): Effect.Effect<void, CliFailure> =>
  Effect.suspend(() => {
    const found = lstatSync(path, { throwIfNoEntry: false })
    if (found !== undefined && !found.isFile()) {
      return Effect.fail(failure("output_not_written", `${path} is no plain file; name one that may be written`))
    }
    if (found !== undefined && !force) return Effect.fail(exists(path))
    return existsSync(dirname(path))
      ? Effect.void
      : Effect.fail(failure("output_not_written", `${path} cannot be written; there is no such directory`))
  })

/** Writes a file of mode 0600 in one step: nobody sees half of it, and without `force` nothing is overwritten. */
export const write = (path: string, content: Uint8Array, force: boolean): Effect.Effect<void, CliFailure> =>
  Effect.try({
    try: () => {
      const draft = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}`)
      try {
        const file = openSync(draft, "wx", 0o600)
        try {
          for (let at = 0; at < content.length;) at += writeSync(file, content, at)
          fsyncSync(file)
        } finally {
          closeSync(file)
        }
        if (!force) reserve(draft, path)
        renameSync(draft, path)
      } finally {
        rmSync(draft, { force: true })
      }
      const directory = openSync(dirname(path), "r")
      try {
        fsyncSync(directory)
      } finally {
        closeSync(directory)
      }
    },
    catch: (error) =>
      (error as { readonly code?: unknown }).code === "EEXIST"
        ? exists(path)
        : failure("output_not_written", `${path} cannot be written; check its directory and the space that is left`)
  })

/** Fails where a file has come meanwhile, which a rename would replace. */
const reserve = (draft: string, path: string): void => {
  try {
    linkSync(draft, path)
  } catch (error) {
    if ((error as { readonly code?: unknown }).code === "EEXIST") throw error
    // Not every file system has links.
    closeSync(openSync(path, "wx", 0o600))
  }
}

const exists = (path: string): CliFailure =>
  failure("output_exists", `${path} is there already; choose another name, or overwrite it with --force`)
