import { Effect } from "effect"
import { availableParallelism } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import * as Command from "../demo/Command.ts"
import * as Serving from "../demo/Serving.ts"
import * as TemporaryDirectory from "../proofs/TemporaryDirectory.ts"
import * as Tally from "../run/Tally.ts"
import { workloadFile } from "./Description.ts"
import * as Judge from "./Judge.ts"
import { clientMetadataUrl } from "./Scenario.ts"

// What pnpm passes on may begin with its own separator.
const args = process.argv.slice(2).filter((arg) => arg !== "--")
const { values } = parseArgs({
  args,
  options: { only: { type: "string", default: "" }, "without-peer": { type: "boolean", default: false } }
})

const ours = join(import.meta.dirname, "valetkey-client.ts")
const peer = join(import.meta.dirname, "sdk-client.ts")

/** A scenario whose server breaks a rule that a client has to hold it to: a client that fails it is right. */
const unfit: Readonly<Record<string, string>> = {
  "0.1.16 auth/2025-03-26-oauth-metadata-backcompat":
    "its metadata names another issuer than the one it was found at (RFC 8414 section 3.3)"
}

/** Scenarios are processes and ports of their own: one at a time for each processor. */
const concurrency = Math.max(1, availableParallelism())

const judged = Effect.fnUntraced(function*(suite: Judge.Judge, scenario: string, home: string) {
  const verdict = yield* Effect.promise(() => Judge.judge(suite, scenario, ours, { VALETKEY_HOME: home }))
  const beside = values["without-peer"] ? undefined : yield* Effect.promise(() => Judge.judge(suite, scenario, peer))
  const reason = unfit[`${suite.version} ${scenario}`]
  const isPassed = Judge.isPassed(verdict) !== (reason !== undefined)
  const told = reason !== undefined
    ? `refused, as it must be: ${reason}`
    : isPassed
    ? `${verdict.successes} checks`
    : `exit ${verdict.exitCode}: ${verdict.failures.join(", ")}`
  const columns = [
    isPassed ? "passed" : "FAILED",
    ...(beside === undefined ? [] : [Judge.isPassed(beside) ? "passed" : "failed"]),
    `${scenario}  ${told}`
  ]
  console.log(columns.join("  "))
  return { isPassed, isUnfit: reason !== undefined, beside: beside !== undefined && Judge.isPassed(beside) }
})

const program = Effect.scoped(Effect.gen(function*() {
  const home = yield* TemporaryDirectory.make
  yield* Serving.start(Command.environment(home, {
    VALETKEY_CLIENT_METADATA_URL: clientMetadataUrl,
    VALETKEY_WORKLOAD_TOKENS: `local/platform=${workloadFile(home)}`
  }))
  const tallies: Array<Tally.Tally> = []
  for (const name of ["@modelcontextprotocol/conformance", "conformance-0.1"]) {
    const suite = Judge.installed(name)
    const scenarios = (yield* Effect.promise(() => Judge.scenarios(suite))).filter((one) => one.includes(values.only))
    console.log(
      `conformance ${suite.version}, auth scenarios: Valetkey${values["without-peer"] ? "" : ", the SDK alone"}`
    )
    const results = yield* Effect.forEach(scenarios, (scenario) => judged(suite, scenario, home), { concurrency })
    const count = (which: (result: (typeof results)[number]) => boolean) => results.filter(which).length
    tallies.push({ passed: count(({ isPassed }) => isPassed), failed: count(({ isPassed }) => !isPassed) })
    const own = count(({ isPassed, isUnfit }) => isPassed && !isUnfit)
    const others = values["without-peer"] ? "" : `, the SDK alone ${count(({ beside }) => beside)}`
    console.log(`conformance ${suite.version}: Valetkey ${own}${others} of ${scenarios.length}`)
  }
  return Tally.sum(tallies)
}))

await Effect.runPromise(program).then((tally) => {
  console.log(Tally.line(tally))
  process.exit(tally.failed === 0 ? 0 : 1)
})
