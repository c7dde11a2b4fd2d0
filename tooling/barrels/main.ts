// Writes each package's barrel, or with `--check` fails when one is stale: `node tooling/barrels/main.ts [--check] [root]`.
import { join, resolve } from "node:path"
import { barrels, isStale, write } from "./Barrel.ts"

const args = process.argv.slice(2)
const checkOnly = args.includes("--check")
const root = resolve(args.find((arg) => !arg.startsWith("--")) ?? join(import.meta.dirname, "../.."))

const all = barrels(root)
const stale = all.filter(isStale)
for (const barrel of stale) {
  if (checkOnly) console.error(`${barrel.path}  stale; run \`node tooling/barrels/main.ts\``)
  else write(barrel)
}
console.log(`${all.length} barrels, ${stale.length} ${checkOnly ? "stale" : "written"}`)
process.exitCode = checkOnly && stale.length > 0 ? 1 : 0
