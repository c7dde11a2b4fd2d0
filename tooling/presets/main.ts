// Checks the presets of packages/providers: `node tooling/presets/main.ts [folder]`.
import * as PresetLint from "@valetkey/providers/PresetLint"
import { readdirSync, readFileSync } from "node:fs"
import { join, relative, resolve } from "node:path"

const root = join(import.meta.dirname, "../..")
const folder = resolve(process.argv[2] ?? join(root, "packages/providers/src/presets"))
const sources = readdirSync(folder).filter((name) => name.endsWith(".json")).sort().map((name) => ({
  file: relative(root, join(folder, name)),
  text: readFileSync(join(folder, name), "utf8")
}))
const mistakes = PresetLint.lint(sources)
for (const mistake of mistakes) console.error(PresetLint.show(mistake))
console.log(`${sources.length} presets, ${mistakes.length} mistakes`)
process.exitCode = sources.length > 0 && mistakes.length === 0 ? 0 : 1
