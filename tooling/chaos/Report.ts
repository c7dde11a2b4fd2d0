import { line, type Tally } from "../run/Tally.ts"
import { type Excuse, excuseOf } from "./Excuses.ts"
import { index } from "./Faults.ts"
import { modes } from "./History.ts"
import type { Ran } from "./Run.ts"

/** What a run did and found, for people. */
export const render = (ran: Ran): string => {
  const { history, incidents, measured, seconds } = ran
  const { calls, changes, deeds, faults, redemptions } = history
  const refreshes = refreshesOf(ran)
  const silent = history.subjects.filter(({ lifetimeSeconds }) => lifetimeSeconds === undefined).length
  const unanswered = Object.entries(unansweredOf(ran))
  const lines = [
    `${seconds.toFixed(0)} s, ${refreshes.toLocaleString("en")} refreshes (${(refreshes / seconds).toFixed(0)}/s), ` +
    `${redemptions.length.toLocaleString("en")} redemptions, ${calls.length.toLocaleString("en")} calls, ` +
    `${history.subjects.length} connections, ${silent} of them with tokens of no known end`,
    `answers: ${counted(calls.map(({ status }) => status === 0 ? "none" : String(status)))}`,
    `unanswered: ${unanswered.map(([why, count]) => `${why} ${count}`).join(", ") || "none"}`,
    `people: ${counted(deeds.map(({ done, what }) => done ? what : `${what} without an answer`))}`,
    `incidents: ${Object.entries(incidents).map(([what, count]) => `${what} ${count}`).join(", ")}; ` +
    `starved ${faults.filter(({ what }) => what === "starved").length}`,
    `provider: ${counted(redemptions.map(({ plan }) => plan))}`,
    ...modes.map((mode) => {
      const ids = new Set(history.subjects.filter((subject) => subject.mode === mode).map(({ id }) => id))
      const asked = changes.filter(({ connection, status }) => status === "needs_reauth" && ids.has(connection))
      return `asked to consent, ${mode}: ${counted(asked.map(({ reason }) => String(reason))) || "nobody"}`
    }),
    `sent to durable: ${quantiles(measured.sentToDurable)}; of it received to durable: ${
      quantiles(measured.receivedToDurable)
    }`
  ]
  return lines.join("\n")
}

/** What is published of a run. */
export interface Summary {
  readonly seed: number
  readonly began: string
  readonly seconds: number
  readonly refreshes: number
  readonly redemptions: number
  readonly calls: number
  readonly connections: number
  readonly incidents: Readonly<Record<string, number>>
  readonly answers: Readonly<Record<string, number>>
  /** Calls without an answer, by what excuses them. */
  readonly unanswered: Partial<Readonly<Record<Excuse | "without an excuse", number>>>
  readonly plans: Readonly<Record<string, number>>
  /** Violations by check. */
  readonly violations: Readonly<Record<string, number>>
}

/** The figures of a run. */
export const summary = (ran: Ran, seed: number): Summary => {
  const { findings, history: { calls, redemptions, subjects }, incidents, seconds } = ran
  return {
    seed,
    began: new Date(ran.history.healedAt - seconds * 1000).toISOString(),
    seconds: Math.round(seconds),
    refreshes: refreshesOf(ran),
    redemptions: redemptions.length,
    calls: calls.length,
    connections: subjects.length,
    incidents,
    answers: Object.fromEntries(counts(calls.map(({ status }) => status === 0 ? "none" : String(status)))),
    unanswered: unansweredOf(ran),
    plans: Object.fromEntries(counts(redemptions.map(({ plan }) => plan))),
    violations: Object.fromEntries(findings.map(({ check, violations }) => [check, violations.length]))
  }
}

/** The table of docs/guarantees.md with the figures of a run. */
export const table = ({ calls, connections, incidents, refreshes, seconds, seed, violations, ...rest }: Summary) => {
  const sum = (of: Readonly<Record<string, number>>) => Object.values(of).reduce((total, one) => total + one, 0)
  const number = (value: number) => value.toLocaleString("en")
  const disturbed = Object.entries(rest.plans).filter(([plan]) => plan !== "honest").map(([, count]) => count)
  return [
    "| seed | duration | refreshes | calls | connections | incidents | disturbed redemptions | violations |",
    "| --- | --- | --- | --- | --- | --- | --- | --- |",
    `| ${
      [
        seed,
        `${(seconds / 60).toFixed(1)} min`,
        `${number(refreshes)} (${(refreshes / seconds).toFixed(0)}/s)`,
        number(calls),
        connections,
        `${number(sum(incidents))} (${
          Object.entries(incidents).map(([what, count]) => `${what} ${count}`).join(", ")
        })`,
        number(disturbed.reduce((total, one) => total + one, 0)),
        sum(violations)
      ].join(" | ")
    } |`
  ].join("\n")
}

/** The verdict line by line, and what was violated, no more than a few of each. */
export const verdict = ({ findings }: Ran): string =>
  findings.flatMap(({ check, violations }) => [
    `${violations.length === 0 ? "held    " : "VIOLATED"} ${check}${
      violations.length === 0 ? "" : `: ${violations.length}`
    }`,
    ...violations.slice(0, 5).flatMap(({ at, connection, id, log = [], what }) => [
      `           ${id} connection ${connection ?? "-"} at ${new Date(at).toISOString()}: ${what}`,
      ...log.map((line) => `             ${line}`)
    ])
  ]).join("\n")

const unansweredOf = ({ history: { calls, faults } }: Ran): Summary["unanswered"] => {
  const known = index(faults)
  return Object.fromEntries(counts(
    calls.filter(({ status }) => status === 0).map((call) => excuseOf(known, call) ?? "without an excuse")
  ))
}

/** How many refreshes gave new tokens. */
const refreshesOf = ({ history }: Ran): number =>
  history.redemptions.filter(({ outcome }) => outcome === "issued").length

/** One per check. */
export const tally = ({ findings }: Ran): Tally => {
  const failed = findings.filter(({ violations }) => violations.length > 0).length
  return { passed: findings.length - failed, failed }
}

export { line }

const counts = (names: ReadonlyArray<string>): ReadonlyArray<readonly [name: string, count: number]> => {
  const found = new Map<string, number>()
  for (const name of names) found.set(name, (found.get(name) ?? 0) + 1)
  return [...found].sort(([, a], [, b]) => b - a)
}

const counted = (names: ReadonlyArray<string>): string =>
  counts(names).map(([name, count]) => `${name} ${count}`).join(", ")

const quantiles = (micros: ReadonlyArray<number>): string => {
  if (micros.length === 0) return "not measured"
  const sorted = micros.toSorted((a, b) => a - b)
  const at = (share: number) => `${(sorted[Math.floor(share * (sorted.length - 1))]! / 1000).toFixed(2)} ms`
  return `p50 ${at(0.5)}, p99 ${at(0.99)} (${sorted.length} measured)`
}
