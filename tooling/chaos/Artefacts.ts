import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const directory = join(import.meta.dirname, "../../.artifacts")

/** Keeps a value as JSON where nothing is committed. */
export const keep = (name: string, value: unknown): void => {
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, name), JSON.stringify(value))
}
