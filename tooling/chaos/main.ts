// `npx -y pnpm@12 chaos --minutes 2 --seed 7`: replicas, a database and providers as real processes, everything that can
// break breaking, and every guarantee held against what was seen. Ends by itself with `N passed, N failed`.
//   --refreshes N  ends after N refreshes      --kills N    nothing but SIGKILL, N times
//   --rolling N    nothing but N rolling restarts of all replicas, one at a time, at an honest provider
//   --disk  with database and spools on the disk of temporary files, for the figures of the window of I3′
//   --broken NAME  a deliberately broken build (Breakage.ts)      --only KIND  only these incidents
import { existsSync } from "node:fs"
import { parseArgs } from "node:util"
import { keep } from "./Artefacts.ts"
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
    connections: { type: "string", default: "500" },
    workers: { type: "string", default: "128" },
    replicas: { type: "string", default: "3" },
    only: { type: "string", multiple: true },
    broken: { type: "string" },
    disk: { type: "boolean", default: false },
    keep: { type: "boolean", default: false }
  }
})
// Processes and lines break here, and no power is cut: what the system has taken outlives them as well as a disk does.
const memory = "/dev/shm"
if (!values.disk && existsSync(memory)) process.env["TMPDIR"] = memory
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
// Whoever has seen enough gets the verdict on what there is.
let interrupted = false
process.once("SIGINT", () => {
  interrupted = true
})
console.log(`seed ${seed}, ${values.minutes} minutes${values.broken === undefined ? "" : `, broken: ${values.broken}`}`)

const ran = await run({
  seed,
  seconds: Number(values.minutes) * 60,
  connections: Number(values.connections),
  workers: Number(values.workers),
  replicas: Number(values.replicas),
  ...special,
  broken: values.broken as Name | undefined,
  until: (seen) => interrupted || ends.some((reached) => reached(seen)),
  onProgress: ({ calls, incidents, refreshes, seconds }) => {
    const count = Object.values(incidents).reduce((sum, one) => sum + one, 0)
    const megabytes = (process.memoryUsage.rss() / 2 ** 20).toFixed(0)
    console.log(
      `  ${seconds.toFixed(0).padStart(4)} s  ${refreshes} refreshes (${
        (refreshes / seconds).toFixed(0)
      }/s), ${calls} calls, ` +
        `${count} incidents, ${megabytes} MB`
    )
  }
})
console.log(`\n${Report.render(ran)}\n\n${Report.verdict(ran)}`)
const summary = Report.summary(ran, seed)
keep(`chaos-${seed}-report.json`, { ...summary, command: process.argv.slice(2), findings: ran.findings })
if (values.keep || Report.tally(ran).failed > 0) keep(`chaos-${seed}.json`, ran.history)
console.log(`\n${Report.table(summary)}`)
console.log(`\nseed ${seed}\n${Report.line(Report.tally(ran))}`)
process.exit(Report.tally(ran).failed === 0 ? 0 : 1)
