// `npx -y pnpm@12 chaos --minutes 2 --seed 7`: replicas, a database and providers as real processes, everything that can
// break breaking, and every guarantee held against what was seen. Ends by itself with `N passed, N failed`.
//   --refreshes N  ends after N refreshes      --kills N    nothing but SIGKILL, N times
//   --rolling N    nothing but N rolling restarts of all replicas, one at a time, at an honest provider
//   --broken NAME  a deliberately broken build (Breakage.ts)      --only KIND  only these incidents
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { breakages, type Name } from "./Breakage.ts"
import * as Report from "./Report.ts"
import { run, type Seen } from "./Run.ts"

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "2" },
    refreshes: { type: "string" },
    kills: { type: "string" },
    rolling: { type: "string" },
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
const kinds = ["kill", "kill at a point"]
const most = (wanted: string | undefined, of: (seen: Seen) => number) => (seen: Seen) =>
  wanted !== undefined && of(seen) >= Number(wanted)
const ends = [
  most(values.refreshes, ({ refreshes }) => refreshes),
  most(values.kills, ({ incidents }) => kinds.reduce((sum, kind) => sum + (incidents[kind] ?? 0), 0)),
  // Three restarts are one round of three replicas.
  most(values.rolling, ({ incidents }) => (incidents["term"] ?? 0) / Number(values.replicas))
]
const special = values.kills !== undefined
  ? { only: kinds }
  : values.rolling !== undefined
  ? { only: ["term"], atOnce: 1, share: 0 }
  : { only: values.only }
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
  ...special,
  broken: values.broken as Name | undefined,
  until: (seen) => ends.some((reached) => reached(seen)),
  onProgress: ({ calls, incidents, refreshes, seconds }) => {
    const count = Object.values(incidents).reduce((sum, one) => sum + one, 0)
    console.log(`  ${seconds.toFixed(0).padStart(4)} s  ${refreshes} refreshes, ${calls} calls, ${count} incidents`)
  }
})
console.log(`\n${Report.render(ran)}\n\n${Report.verdict(ran)}`)
if (values.keep || Report.tally(ran).failed > 0) {
  const artefacts = join(import.meta.dirname, "../../.artifacts")
  mkdirSync(artefacts, { recursive: true })
  writeFileSync(join(artefacts, `chaos-${seed}.json`), JSON.stringify(ran.history))
}
console.log(`\nseed ${seed}\n${Report.line(Report.tally(ran))}`)
process.exit(Report.tally(ran).failed === 0 ? 0 : 1)
