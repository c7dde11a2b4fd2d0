import { Duration } from "effect"

/** The first two neighbours of which the one that has to be shorter is not. */
export const outOfOrder = (
  steps: ReadonlyArray<readonly [name: string, duration: Duration.Duration]>
): { readonly shorter: string; readonly longer: string } | undefined => {
  for (const [index, [shorter, duration]] of steps.entries()) {
    const next = steps[index + 1]
    if (next !== undefined && !Duration.isLessThan(duration, next[1])) return { shorter, longer: next[0] }
  }
  return undefined
}
