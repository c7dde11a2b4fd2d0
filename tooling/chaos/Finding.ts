import { Effect } from "effect"
import { keep } from "./Artefacts.ts"
import { run, type RunOptions } from "./Run.ts"

/** What a run of some seconds found, by guarantee. */
export const found = (options: Partial<RunOptions>) =>
  Effect.promise(async () => {
    const { findings, history, incidents } = await run({
      seed: 1,
      seconds: 12,
      connections: 30,
      workers: 24,
      replicas: 3,
      ...options
    })
    const violations = findings.flatMap(({ violations }) => violations)
    if (violations.length > 0 && options.broken === undefined) keep(`chaos-test-${Date.now()}.json`, history)
    return { incidents, violations, ids: [...new Set(violations.map(({ id }) => id))] }
  })
