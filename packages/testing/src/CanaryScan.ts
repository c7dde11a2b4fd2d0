import { existsSync, lstatSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import * as Canary from "./Canary.ts"
import { NeedleIndex } from "./internal/needleIndex.ts"
import { encodings } from "./internal/secretEncodings.ts"

/** A canary that turned up: where, as what, and never the secret itself. */
export interface Finding {
  readonly source: string
  readonly offset: number
  readonly kind: string
  readonly encoding: string
}

/** Looks for secrets in bytes. Building one costs a few microseconds per secret, so that a scan of many files shares it. */
export interface Scanner {
  bytes(source: string, bytes: string | Uint8Array): ReadonlyArray<Finding>
  /** Scans a file, or every file below a directory. */
  path(path: string): ReadonlyArray<Finding>
}

/**
 * Makes a scanner for the given canaries, by default those of the run.
 *
 * It finds the first and the last twelve characters of the random part of each: raw, base64 and base64url in the three
 * alignments, hexadecimal, percent-encoded, JSON-escaped and UTF-16.
 */
export const make = (canaries: ReadonlyArray<Canary.Canary> = Canary.all()): Scanner => {
  const index = new NeedleIndex<{ readonly kind: string; readonly encoding: string }>()
  for (const { kind, unique } of canaries) {
    for (const part of new Set([unique.slice(0, 12), unique.slice(-12)])) {
      for (const [encoding, needle] of encodings(part)) index.add(needle, { kind, encoding })
    }
  }
  const bytes: Scanner["bytes"] = (source, content) =>
    index.search(typeof content === "string" ? Buffer.from(content) : content)
      .map(({ offset, value }) => ({ source, offset, ...value }))
  const path: Scanner["path"] = (root) => {
    if (!existsSync(root)) return []
    const stat = lstatSync(root)
    if (stat.isDirectory()) return readdirSync(root).flatMap((name) => path(join(root, name)))
    return stat.isFile() ? bytes(root, readFileSync(root)) : []
  }
  return { bytes, path }
}

/** One line per finding, for a person who has to find the leak. */
export const format = (findings: ReadonlyArray<Finding>): string =>
  findings.map(({ encoding, kind, offset, source }) => `${kind} (${encoding}) in ${source} at byte ${offset}`).join(
    "\n"
  )
