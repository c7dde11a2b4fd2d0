import { mkdirSync } from "node:fs"
import { join } from "node:path"

/** Directory of the run, named by the environment so that every process of the run agrees on it. */
export const variable = "VALETKEY_TEST_ARTEFACTS"

export const directory = (): string | undefined => process.env[variable]

/** File that lists the canaries of the run, one per line. */
export const registry = (): string | undefined => {
  const dir = directory()
  return dir === undefined ? undefined : join(dir, "canaries")
}

/** File in which setups leave what they found, for the one that ends the run to report. */
export const findings = (): string | undefined => {
  const dir = directory()
  return dir === undefined ? undefined : join(dir, "findings")
}

/** Directory of everything the suites emitted. */
export const emitted = (): string | undefined => {
  const dir = directory()
  if (dir === undefined) return undefined
  const path = join(dir, "emitted")
  mkdirSync(path, { recursive: true })
  return path
}
