/** How many things were tried by a step, and how many of them hold. */
export interface Tally {
  readonly passed: number
  readonly failed: number
}

/** The sum of several tallies. */
export const sum = (tallies: ReadonlyArray<Tally>): Tally => ({
  passed: tallies.reduce((total, one) => total + one.passed, 0),
  failed: tallies.reduce((total, one) => total + one.failed, 0)
})

/** The line every run ends with. */
export const line = ({ failed, passed }: Tally): string => `${passed} passed, ${failed} failed`

/** The tally that a program printed as its last such line; a program that prints none counts as one step by its exit code. */
export const read = (output: string, exitCode: number): Tally => {
  const last = [...output.matchAll(/^(?:\w+: )?(\d+) (?:steps )?passed, (\d+) failed$/gm)].at(-1)
  if (last === undefined) return exitCode === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 }
  const tally = { passed: Number(last[1]), failed: Number(last[2]) }
  // A program that fails after its last step is a failure that its own count does not know.
  return exitCode !== 0 && tally.failed === 0 ? { ...tally, failed: 1 } : tally
}

interface VitestReport {
  readonly numPassedTests: number
  readonly numFailedTests: number
  readonly testResults: ReadonlyArray<{
    readonly status: string
    readonly assertionResults: ReadonlyArray<{ readonly status: string }>
  }>
}

/** The tally of a vitest JSON report: a file that fails without a failing test, and an error outside every test, count as one each. */
export const readVitest = (report: string, exitCode: number): Tally => {
  const { numFailedTests, numPassedTests, testResults } = JSON.parse(report) as VitestReport
  const brokenFiles =
    testResults.filter((file) =>
      file.status === "failed" && file.assertionResults.every((test) => test.status !== "failed")
    ).length
  const failed = numFailedTests + brokenFiles
  return { passed: numPassedTests, failed: exitCode !== 0 && failed === 0 ? 1 : failed }
}

interface TurboSummary {
  readonly tasks: ReadonlyArray<{
    readonly task: string
    readonly cache: { readonly status: string }
    readonly execution?: { readonly startTime: number; readonly endTime: number; readonly exitCode: number }
  }>
}

/** One task of a turbo run. */
export interface Task {
  readonly name: string
  readonly passed: boolean
  readonly cached: boolean
  readonly seconds: number
}

/** The tasks of a turbo run summary; a task without an execution did not run, and so did not pass. */
export const readTurbo = (summary: string): ReadonlyArray<Task> =>
  (JSON.parse(summary) as TurboSummary).tasks.map(({ cache, execution, task }) => ({
    name: task,
    passed: execution?.exitCode === 0,
    cached: cache.status === "HIT",
    seconds: execution === undefined ? 0 : (execution.endTime - execution.startTime) / 1000
  }))
