// `npx -y pnpm@12 chaos --minutes 2 --seed 7`: replicas, a database and providers as real processes, everything that can
// break breaking, and every guarantee held against what was seen. Ends by itself with `N passed, N failed`.
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { breakages, type Name } from "./Breakage.ts"
import * as Report from "./Report.ts"
import { run } from "./Run.ts"

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "2" },
    refreshes: { type: "string" },
    seed: { type: "string" },
    connections: { type: "string", default: "400" },
    workers: { type: "string", default: "96" },
    replicas: { type: "string", default: "3" },
    only: { type: "string", multiple: true },
    broken: { type: "string" },
    keep: { type: "boolean", default: false }
  }
})
const seed = Number(values.seed ?? Date.now() % 2 ** 31)
if (values.broken !== undefined && !(values.broken in breakages)) {
  console.error(`--broken takes one of ${Object.keys(breakages).join(", ")}`)
  process.exit(2)
}
console.log(`seed ${seed}, ${values.minutes} minutes${values.broken === undefined ? "" : `, broken: ${values.broken}`}`)

const ran = await run({
  seed,
  seconds: Number(values.minutes) * 60,
  connections: Number(values.connections),
  workers: Number(values.workers),
  replicas: Number(values.replicas),
  only: values.only,
  broken: values.broken as Name | undefined,
  until: values.refreshes === undefined ? undefined : ({ refreshes }) => refreshes >= Number(values.refreshes),
  onProgress: ({ calls, incidents, refreshes, seconds }) =>
    console.log(`  ${seconds.toFixed(0).padStart(4)} s  ${refreshes} refreshes, ${calls} calls, ${incidents} incidents`)
})
console.log(`\n${Report.render(ran)}\n\n${Report.verdict(ran)}`)
if (values.keep || Report.tally(ran).failed > 0) {
  const artefacts = join(import.meta.dirname, "../../.artifacts")
  mkdirSync(artefacts, { recursive: true })
  writeFileSync(join(artefacts, `chaos-${seed}.json`), JSON.stringify(ran.history))
}
console.log(`\nseed ${seed}\n${Report.line(Report.tally(ran))}`)
process.exit(Report.tally(ran).failed === 0 ? 0 : 1)
