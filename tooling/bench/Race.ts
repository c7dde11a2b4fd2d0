/** Figures of one contestant over all rounds. */
export interface Figures {
  readonly name: string
  readonly median: number
  readonly min: number
  readonly max: number
  /** Median of the per-round ratios to the floor, so that a drifting machine cancels out. */
  readonly ratio: number
}

/** One contestant: measures one round and gives its figure. */
export type Contestant = readonly [name: string, round: () => Promise<number>]

/** Runs the contestants in turn, round by round, after one uncounted round; the first is the floor. */
export const race = async (rounds: number, contestants: readonly [Contestant, ...ReadonlyArray<Contestant>]) => {
  const results = contestants.map(() => [] as Array<number>)
  for (let round = -1; round < rounds; round++) {
    for (const [index, [, measure]] of contestants.entries()) {
      const figure = await measure()
      if (round >= 0) results[index]!.push(figure)
    }
  }
  const floor = results[0]!
  return contestants.map(([name], index): Figures => {
    const figures = results[index]!
    return {
      name,
      median: median(figures),
      min: Math.min(...figures),
      max: Math.max(...figures),
      ratio: median(figures.map((figure, round) => figure / floor[round]!))
    }
  })
}

/** The middle of the figures. */
export const median = (figures: ReadonlyArray<number>): number => {
  const sorted = figures.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** The figure that the given share of the figures does not exceed. */
export const quantile = (figures: ReadonlyArray<number>, share: number): number =>
  figures.toSorted((a, b) => a - b)[Math.ceil(figures.length * share) - 1]!
