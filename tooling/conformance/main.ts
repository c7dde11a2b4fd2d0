import { join } from "node:path"
import { parseArgs } from "node:util"
import * as Tally from "../run/Tally.ts"
import * as Judge from "./Judge.ts"

// What pnpm passes on may begin with its own separator.
const args = process.argv.slice(2).filter((arg) => arg !== "--")
const { values } = parseArgs({ args, options: { only: { type: "string", default: "" } } })

const ours = join(import.meta.dirname, "valetkey-client.ts")

/** A scenario whose server breaks a rule that a client has to hold it to: a client that fails it is right. */
const unfit: Readonly<Record<string, string>> = {
  "0.1.16 auth/2025-03-26-oauth-metadata-backcompat":
    "its metadata names another issuer than the one it was found at (RFC 8414 section 3.3)"
}

let passed = 0
let failed = 0
for (const name of ["@modelcontextprotocol/conformance", "conformance-0.1"]) {
  const suite = Judge.installed(name)
  console.log(`conformance ${suite.version}, auth scenarios, one at a time`)
  for (const scenario of await Judge.scenarios(suite)) {
    if (!scenario.includes(values.only)) continue
    const verdict = await Judge.judge(suite, scenario, ours)
    const reason = unfit[`${suite.version} ${scenario}`]
    const isPassed = Judge.isPassed(verdict) !== (reason !== undefined)
    if (isPassed) passed++
    else failed++
    const told = reason !== undefined
      ? `refused, as it must be: ${reason}`
      : isPassed
      ? `${verdict.successes} checks`
      : `exit ${verdict.exitCode}: ${verdict.failures.join(", ")}`
    console.log(`${isPassed ? "passed" : "FAILED"}  ${scenario}  ${told}`)
  }
}
console.log(Tally.line({ passed, failed }))
process.exit(failed === 0 ? 0 : 1)
