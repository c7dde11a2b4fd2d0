import { Effect } from "effect"
import { run, type RunOptions } from "./Run.ts"

/** What a run of some seconds found, by guarantee. */
export const found = (options: Partial<RunOptions>) =>
  Effect.promise(async () => {
    const { findings, incidents } = await run({
      seed: 1,
      seconds: 12,
      connections: 30,
      workers: 24,
      replicas: 3,
      ...options
    })
    const violations = findings.flatMap(({ violations }) => violations)
    return { incidents, violations, ids: [...new Set(violations.map(({ id }) => id))] }
  })
