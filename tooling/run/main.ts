// Runs groups of steps and ends with `N passed, N failed`: `node tooling/run/main.ts check unit demo`.
import { spawn } from "node:child_process"
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs"
import { delimiter, join } from "node:path"
import { line, read, readTurbo, readVitest, sum, type Tally } from "./Tally.ts"

const root = join(import.meta.dirname, "../..")
const artifacts = join(root, ".artifacts")
const checks = ["types", "lint", "architecture", "barrels:check", "wording", "presets", "knip"]
const bin = join(root, "node_modules/.bin")

interface Result extends Tally {
  readonly rows: ReadonlyArray<string>
}

interface Finished {
  readonly code: number
  readonly output: string
  readonly seconds: number
}

// Streams what a program prints and keeps a copy for the tally.
const run = (command: string, args: ReadonlyArray<string>): Promise<Finished> =>
  new Promise((resolve) => {
    const started = performance.now()
    const child = spawn(command, args, {
      cwd: root,
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, PATH: `${bin}${delimiter}${process.env["PATH"]}`, TURBO_TELEMETRY_DISABLED: "1" }
    })
    let output = ""
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      output += chunk
      process.stdout.write(chunk)
    })
    child.on("error", (error) => {
      console.error(`${command}: ${error.message}`)
      resolve({ code: 127, output, seconds: 0 })
    })
    child.on("close", (code) => resolve({ code: code ?? 1, output, seconds: (performance.now() - started) / 1000 }))
  })

const row = (name: string, seconds: number, what: string): string =>
  `  ${name.padEnd(14)} ${seconds.toFixed(1).padStart(6)} s  ${what}`

const groups: Readonly<Record<string, () => Promise<Result>>> = {
  check: async () => {
    const { code, output } = await run("turbo", [
      "run",
      ...checks,
      "--continue",
      "--summarize",
      "--output-logs=errors-only"
    ])
    const summary = /Summary:\s+(\S+\.json)/.exec(output)?.[1]
    if (summary === undefined) {
      console.error("turbo did not run; it needs pnpm on the path, as in `npx -y pnpm@12 check`")
      return { passed: 0, failed: checks.length, rows: [row("check", 0, "did not run")] }
    }
    const tasks = readTurbo(readFileSync(summary, "utf8"))
    rmSync(summary)
    const failed = checks.filter((name) => !tasks.some((task) => task.name === name && task.passed)).length
    return {
      passed: checks.length - failed,
      failed: code !== 0 && failed === 0 ? 1 : failed,
      rows: tasks.map((task) =>
        row(task.name, task.seconds, (task.passed ? "passed" : "FAILED") + (task.cached ? " (cached)" : ""))
      )
    }
  },
  unit: async () => {
    mkdirSync(artifacts, { recursive: true })
    const report = join(artifacts, "vitest.json")
    rmSync(report, { force: true })
    const { code, seconds } = await run("vitest", [
      "run",
      // By default one core is left idle, which waits with the tests for processes that they start.
      "--maxWorkers=2",
      "--reporter=default",
      "--reporter=json",
      `--outputFile.json=${report}`
    ])
    const tally = existsSync(report)
      ? readVitest(readFileSync(report, "utf8"), code)
      : { passed: 0, failed: 1 }
    return { ...tally, rows: [row("unit", seconds, line(tally))] }
  },
  demo: async () => {
    const program = join(root, "tooling/demo/main.ts")
    if (!existsSync(program)) return { passed: 0, failed: 0, rows: [row("demo", 0, "is still to be written")] }
    const { code, output, seconds } = await run(process.execPath, [program])
    const tally = read(output, code)
    return { ...tally, rows: [row("demo", seconds, line(tally))] }
  }
}

const wanted = process.argv.slice(2)
const unknown = wanted.filter((name) => groups[name] === undefined)
if (wanted.length === 0 || unknown.length > 0) {
  console.error(`usage: node tooling/run/main.ts ${Object.keys(groups).map((name) => `[${name}]`).join(" ")}`)
  process.exit(2)
}

const results: Array<Result> = []
for (const name of wanted) results.push(await groups[name]!())

const total = sum(results)
console.log(`\n${results.flatMap((result) => result.rows).join("\n")}\n`)
console.log(line(total))
process.exitCode = total.failed === 0 ? 0 : 1
