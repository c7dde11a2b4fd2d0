import { spawn } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"

/** One release of the conformance suite. */
export interface Judge {
  readonly version: string
  readonly program: string
}

/** What one scenario made of one client. */
export interface Verdict {
  readonly scenario: string
  readonly successes: number
  readonly failures: ReadonlyArray<string>
  readonly exitCode: number
}

const require = createRequire(import.meta.url)

/** The release that is installed under a name. */
export const installed = (name: string): Judge => {
  const manifest = require.resolve(`${name}/package.json`)
  const { version } = JSON.parse(readFileSync(manifest, "utf8")) as { readonly version: string }
  return { version, program: join(dirname(manifest), "dist/index.js") }
}

/** The scenarios of the auth suite for clients, in the order of the suite. */
export const scenarios = async (judge: Judge): Promise<ReadonlyArray<string>> => {
  const { stdout } = await run([judge.program, "list", "--client"])
  return [...stdout.matchAll(/^ {2}- (auth\/\S+)/gm)].map(([, name = ""]) => name)
}

/** Runs one scenario against a client program, which gets the server's URL as its last argument. */
export const judge = async (
  judge: Judge,
  scenario: string,
  client: string,
  env: NodeJS.ProcessEnv = {}
): Promise<Verdict> => {
  const results = mkdtempSync(join(tmpdir(), "vk-conformance-"))
  try {
    const command = `${process.execPath} ${client}`
    const args = ["client", "--command", command, "--scenario", scenario, "-o", results, "--timeout", "60000"]
    const { exitCode } = await run([judge.program, ...args], env)
    const checks = checksIn(results)
    return {
      scenario,
      exitCode,
      successes: checks.filter(({ status }) => status === "SUCCESS").length,
      failures: [
        ...new Set(checks.filter(({ status }) => status === "FAILURE" || status === "WARNING").map(({ id }) => id))
      ]
    }
  } finally {
    rmSync(results, { recursive: true, force: true })
  }
}

/** A scenario counts when something succeeded, nothing failed and the client ended well: a client that does nothing passes none. */
export const isPassed = ({ exitCode, failures, successes }: Verdict): boolean =>
  exitCode === 0 && successes > 0 && failures.length === 0

interface Check {
  readonly id: string
  readonly status: string
}

const checksIn = (directory: string): ReadonlyArray<Check> =>
  readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith("checks.json"))
    .flatMap((path) => JSON.parse(readFileSync(join(directory, path), "utf8")) as ReadonlyArray<Check>)

const run = (
  args: ReadonlyArray<string>,
  env: NodeJS.ProcessEnv = {}
): Promise<{ readonly stdout: string; readonly exitCode: number }> =>
  new Promise((resolve) => {
    const child = spawn(process.execPath, args, {
      stdio: ["ignore", "pipe", "ignore"],
      env: { ...process.env, ...env }
    })
    let stdout = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => stdout += text)
    child.once("close", (code) => resolve({ stdout, exitCode: code ?? 1 }))
  })
