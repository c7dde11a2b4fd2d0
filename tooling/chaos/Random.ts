/** A source of chance that a seed repeats. */
export interface Random {
  /** At least 0, less than 1. */
  next(): number
  /** An integer of 0 to `below - 1`. */
  below(below: number): number
  /** Between two numbers. */
  between(from: number, to: number): number
  pick<A>(values: ReadonlyArray<A>): A
  /** A value by its weight. */
  weighted<A>(values: ReadonlyArray<readonly [weight: number, value: A]>): A
  /** Another source whose draws disturb this one's as little as those of this one disturb it. */
  fork(): Random
}

/** Makes the source of a seed (mulberry32: small, fast, and good enough to choose faults). */
export const make = (seed: number): Random => {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6D2B79F5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const random: Random = {
    next,
    below: (below) => Math.floor(next() * below),
    between: (from, to) => from + next() * (to - from),
    pick: (values) => values[Math.floor(next() * values.length)]!,
    weighted: (values) => {
      let left = next() * values.reduce((sum, [weight]) => sum + weight, 0)
      for (const [weight, value] of values) {
        left -= weight
        if (left < 0) return value
      }
      return values.at(-1)![1]
    },
    fork: () => make(Math.floor(next() * 2 ** 32))
  }
  return random
}
