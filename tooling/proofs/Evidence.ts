import * as Canary from "@valetkey/testing/Canary"
import * as CanaryScan from "@valetkey/testing/CanaryScan"
import * as Emitted from "@valetkey/testing/Emitted"
import { existsSync, lstatSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"

/** Everything that left the product during a test, by where it was seen. */
export interface Evidence {
  /** Keeps text or bytes for the scan. */
  record(source: string, bytes: string | Uint8Array): void
  /** Keeps every file below a directory as it is now, but those at the given paths. */
  recordFiles(source: string, directory: string, except?: ReadonlyArray<string>): void
  /** How much was kept, by source. */
  readonly size: () => Readonly<Record<string, number>>
  /** Which of the given secrets, by default those of the run, stand in what was kept. */
  findings(secrets?: ReadonlyArray<Canary.Canary>): ReadonlyArray<CanaryScan.Finding>
}

/** Makes an empty collection; what goes in goes to the scan of the run as well. */
export const make = (): Evidence => {
  const kept: Array<readonly [source: string, bytes: Uint8Array]> = []
  const record: Evidence["record"] = (source, bytes) => {
    kept.push([source, typeof bytes === "string" ? Buffer.from(bytes) : bytes])
    Emitted.record(source, bytes)
  }
  const recordFiles: Evidence["recordFiles"] = (source, path, except = []) => {
    if (except.includes(path) || !existsSync(path)) return
    const stat = lstatSync(path)
    if (stat.isFile()) record(source, readFileSync(path))
    if (stat.isDirectory()) { for (const name of readdirSync(path)) recordFiles(source, join(path, name), except) }
  }
  return {
    record,
    recordFiles,
    size: () => {
      const sizes: Record<string, number> = {}
      for (const [source, bytes] of kept) sizes[source] = (sizes[source] ?? 0) + bytes.length
      return sizes
    },
    findings: (secrets = Canary.all()) => {
      const scanner = CanaryScan.make(secrets)
      return kept.flatMap(([source, bytes]) => scanner.bytes(source, bytes))
    }
  }
}
