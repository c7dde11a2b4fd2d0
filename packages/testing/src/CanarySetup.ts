import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Canary from "./Canary.ts"
import * as CanaryScan from "./CanaryScan.ts"
import * as Artefacts from "./internal/artefacts.ts"

interface Run {
  users: number
  readonly directory: string
}

// Every project of a workspace loads this module anew; the run has one directory and one scan.
const runs = globalThis as { [key: symbol]: Run | undefined }
const slot = Symbol.for("@valetkey/testing/CanarySetup")

/**
 * Vitest `globalSetup`: collects what the suites emit and fails the run when a canary stands in it.
 *
 * List it before `PostgresSetup.ts`: teardown runs in reverse, and the database files are scanned by their own setup.
 */
export default function setup(): () => void {
  const run = runs[slot] ??= open()
  run.users++
  return () => {
    if (--run.users > 0) return
    delete runs[slot]
    close(run)
  }
}

const open = (): Run => {
  const directory = mkdtempSync(join(tmpdir(), "valetkey-artefacts-"))
  process.env[Artefacts.variable] = directory
  return { users: 0, directory }
}

const close = ({ directory }: Run): void => {
  const emitted = CanaryScan.format(CanaryScan.make(Canary.all()).path(join(directory, "emitted")))
  const report = Artefacts.findings() ?? ""
  const findings = `${existsSync(report) ? readFileSync(report, "utf8") : ""}${emitted}`
  delete process.env[Artefacts.variable]
  // Kept on failure: the person who looks for the leak needs the file that holds it.
  if (findings !== "") throw new Error(`Secrets in what the suites emitted (kept in ${directory}):\n${findings}`)
  rmSync(directory, { recursive: true, force: true })
}
