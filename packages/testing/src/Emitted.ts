import { randomBytes } from "node:crypto"
import { appendFileSync, cpSync, existsSync } from "node:fs"
import { join } from "node:path"
import * as Artefacts from "./internal/artefacts.ts"

// One file per process and kind: two processes never append to the same file.
const owner = `${process.pid}-${randomBytes(4).toString("hex")}`
let files = 0

/** Whether a run collects what the suites emit; without one, recording does nothing. */
export const active = (): boolean => Artefacts.directory() !== undefined

/** Hands bytes that left the product (a log line, a body, a dump) to the canary scan at the end of the run. */
export const record = (kind: string, bytes: string | Uint8Array): void => {
  const directory = Artefacts.emitted()
  if (directory === undefined) return
  appendFileSync(join(directory, `${kind}-${owner}`), bytes)
  appendFileSync(join(directory, `${kind}-${owner}`), "\n")
}

/** Copies a file or directory (a store with its write-ahead log, a spool) as it is now for the scan. */
export const recordFile = (path: string): void => {
  const directory = Artefacts.emitted()
  if (directory === undefined || !existsSync(path)) return
  cpSync(path, join(directory, `file-${owner}-${files++}`), { recursive: true })
}
