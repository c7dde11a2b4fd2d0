import type { Figures } from "./Race.ts"

/** What a contestant's ratio to the floor must be. */
export interface Limit {
  readonly atMost?: number
  readonly atLeast?: number
}

/** One measured section: figures of each contestant, the floor first, and the limits that were set for them. */
export interface Section {
  readonly title: string
  readonly unit: string
  readonly figures: ReadonlyArray<Figures>
  readonly limits: Readonly<Record<string, Limit>>
}

/** One line that a limit was held against. */
export interface Verdict {
  readonly what: string
  readonly held: boolean
}

/** Whether each contestant that has a limit keeps it. */
export const verdicts = (section: Section): ReadonlyArray<Verdict> =>
  section.figures.flatMap(({ name, ratio }) => {
    const limit = section.limits[name]
    if (limit === undefined) return []
    const held = ratio <= (limit.atMost ?? Infinity) && ratio >= (limit.atLeast ?? 0)
    return [{ what: `${section.title}: ${name}`, held }]
  })

/** The section as a table in Markdown. */
export const render = (section: Section): string =>
  [
    `\n### ${section.title}\n`,
    `| | ${section.unit}, median | min | max | ratio to the floor | limit |`,
    "| --- | --- | --- | --- | --- | --- |",
    ...section.figures.map(({ max, median, min, name, ratio }) =>
      `| ${name} | ${number(median)} | ${number(min)} | ${number(max)} | ${ratio.toFixed(2)} | ${
        limitText(section.limits[name])
      } |`
    )
  ].join("\n")

const number = (value: number): string => value >= 1000 ? Math.round(value).toLocaleString("en") : value.toPrecision(3)

const limitText = (limit: Limit | undefined): string =>
  limit === undefined ? "" : limit.atMost !== undefined ? `≤ ${limit.atMost}` : `≥ ${limit.atLeast}`
