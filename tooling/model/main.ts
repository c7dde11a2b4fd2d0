// `npx -y pnpm@12 proof:model --minutes 5 --seed 7`: histories of two replicas over the memory store, one after another on
// one core, each held against the invariants. Without a seed the clock gives one. Ends by itself with `N passed, N failed`.
import { parseArgs } from "node:util"
import * as Coverage from "./Coverage.ts"
import * as Histories from "./Histories.ts"

const { values } = parseArgs({
  options: { minutes: { type: "string", default: "1" }, seed: { type: "string" } }
})
const seed = Number(values.seed ?? Date.now() % 2 ** 31)
const end = performance.now() + Number(values.minutes) * 60_000
// Whoever has seen enough gets the verdict on what there is; whoever has seen too much as well.
const most = 5
console.log(`seed ${seed}, ${values.minutes} minutes`)

let told = performance.now()
const begun = told
const { findings, histories, seconds, seen } = Histories.run({
  seed,
  findings: most,
  more: (count) => {
    const now = performance.now()
    if (now - told >= 10_000) {
      told = now
      console.log(`  ${((now - begun) / 1000).toFixed(0).padStart(5)} s  ${count} histories`)
    }
    return now < end
  }
})
for (const finding of findings) console.log(`\n${Histories.told(finding)}`)
console.log("\nwhat took place, how often")
for (const [what, count] of [...seen].sort(([one], [other]) => one < other ? -1 : 1)) {
  console.log(`  ${String(count).padStart(9)}  ${what}`)
}
const missing = Coverage.missing(seen)
for (const what of missing) console.log(`  never took place: ${what}`)
const elapsed = (performance.now() - begun) / 1000
console.log(
  `\n${Math.round(histories / elapsed)} histories per second, ${
    Math.round(histories / seconds)
  } per second of processor time`
)
console.log(`seeds ${seed} to ${seed + histories - 1}`)
console.log(`${histories - findings.length} passed, ${findings.length + missing.length} failed`)
process.exit(findings.length + missing.length === 0 ? 0 : 1)
