import { mkdirSync, writeFileSync } from "node:fs"
import { cpus } from "node:os"
import { join } from "node:path"
import { type Section, verdicts } from "./Table.ts"

/** What was measured, and on what. */
export const headline = (rounds: number): string =>
  `node ${process.version}, ${cpus().length} × ${
    cpus()[0]?.model
  }, ${rounds} rounds, each beside its floor in the same run`

/** Keeps the figures as JSON, names each limit that was missed, and ends with exit code 1 if there is one. */
export const conclude = (file: string, measured: ReadonlyArray<Section>): void => {
  const artefacts = join(import.meta.dirname, "../../.artifacts")
  mkdirSync(artefacts, { recursive: true })
  writeFileSync(join(artefacts, file), JSON.stringify(measured, null, 2))
  const missed = measured.flatMap(verdicts).filter(({ held }) => !held)
  for (const { what } of missed) console.log(`\nover its limit: ${what}`)
  process.exitCode = missed.length === 0 ? 0 : 1
}
