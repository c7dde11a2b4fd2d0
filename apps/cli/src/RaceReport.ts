import { table } from "./Output.ts"

/** Why every connection of a round needs another token: there is none yet, it ended, or its resource refuses it. */
export type RoundKind = "missing" | "ended" | "refused"

/** What one round came to. */
export interface Round {
  readonly kind: RoundKind
  /** Connections of which no refresh token was redeemed while callers were given tokens that are no good. */
  readonly unrefreshed: number
  /** Redemptions beyond the first of a connection that replaced a token some time after it was issued: right where callers are slow. */
  readonly again: number
  /** Callers that asked each server. */
  readonly calls: ReadonlyArray<number>
  readonly slowestMillis: number
  /** How many callers got no good token, by the code that they were told. */
  readonly failures: Readonly<Record<string, number>>
}

/** What a race has shown. */
export interface RaceReport {
  /** The name of the run, which its connections begin with. */
  readonly run: string
  readonly servers: number
  readonly connections: number
  /** Of each connection, all at once. */
  readonly callers: number
  readonly rounds: ReadonlyArray<Round>
  /** Requests with a refresh token that the simulator saw. */
  readonly redemptions: number
  readonly needless: number
  readonly reused: number
  readonly revoked: number
}

/** What a person should know: each sentence is a promise that the deployment did not keep. */
export const problemsOf = (report: RaceReport, left: ReadonlyArray<string>): ReadonlyArray<string> => {
  const { needless, reused, revoked } = report
  const failures = failuresOf(report)
  const failed = sum(Object.values(failures))
  const unrefreshed = sum(report.rounds.map((round) => round.unrefreshed))
  return [
    ...(reused === 0 ? [] : [
      `${many(reused, "request", "requests")} carried a refresh token that was used already, and the simulator ` +
      `revoked ${many(revoked, "connection", "connections")}, as a strict provider does`
    ]),
    ...(needless === 0 ? [] : [
      `${
        many(needless, "redemption", "redemptions")
      } replaced a token that was good: servers that do not know of one ` +
      "another refresh the same connection"
    ]),
    ...(unrefreshed === 0
      ? []
      : [`${many(unrefreshed, "refresh", "refreshes")} that callers needed did not take place`]),
    ...(failed === 0 ? [] : [
      `${many(failed, "caller", "callers")} got no good token: ${
        Object.entries(failures).map(([code, count]) => `${code} (${count})`).join(", ")
      }`
    ]),
    ...(left.length === 0 ? [] : [`${many(left.length, "connection", "connections")} could not be removed`])
  ]
}

/** What `--json` has of a report. */
export const document = (report: RaceReport, left: ReadonlyArray<string>): Readonly<Record<string, unknown>> => {
  const { needless, reused, revoked } = report
  return {
    run: report.run,
    servers: report.servers,
    connections: report.connections,
    callers: report.callers,
    calls: sum(callsOf(report)),
    callsByServer: callsOf(report),
    redemptions: { expected: expectedOf(report), seen: report.redemptions, needless, reused },
    revokedConnections: revoked,
    failedCallers: sum(Object.values(failuresOf(report))),
    failures: failuresOf(report),
    slowestMillis: slowestOf(report),
    rounds: report.rounds.map(({ failures, kind, slowestMillis }) => ({
      kind,
      slowestMillis,
      failedCallers: sum(Object.values(failures))
    })),
    left
  }
}

/** A report as a person reads it. */
export const text = (report: RaceReport): string => {
  const again = sum(report.rounds.map((round) => round.again))
  const calls = report.connections * report.callers
  return table([
    ["servers asked", `${report.servers}, ${callsOf(report).join(" and ")} times`],
    ["connections", String(report.connections)],
    ["rounds", `${report.rounds.length} (${report.rounds.map(({ kind }) => `token ${kind}`).join(", ")})`],
    ["callers", `${calls} at once, ${sum(callsOf(report))} in all`],
    [
      "redemptions",
      `${expectedOf(report)} expected, ${report.redemptions} seen${
        again === 0 ? "" : `, ${again} of them later in a round`
      }`
    ],
    ["used twice", many(report.reused, "refresh token", "refresh tokens")],
    ["revoked for that", many(report.revoked, "connection", "connections")],
    ["failed callers", String(sum(Object.values(failuresOf(report))))],
    ["slowest caller", `${slowestOf(report)} ms`]
  ])
}

const expectedOf = ({ connections, rounds }: RaceReport): number => connections * rounds.length

/** How many callers asked each server. */
const callsOf = ({ rounds, servers }: RaceReport): ReadonlyArray<number> =>
  Array.from({ length: servers }, (_, server) => sum(rounds.map(({ calls }) => calls[server] ?? 0)))

const slowestOf = ({ rounds }: RaceReport): number => Math.max(0, ...rounds.map(({ slowestMillis }) => slowestMillis))

const failuresOf = ({ rounds }: RaceReport): Readonly<Record<string, number>> => {
  const all: Record<string, number> = {}
  for (const { failures } of rounds) {
    for (const [code, count] of Object.entries(failures)) all[code] = (all[code] ?? 0) + count
  }
  return all
}

const sum = (numbers: ReadonlyArray<number>): number => numbers.reduce((total, one) => total + one, 0)

const many = (count: number, one: string, more: string): string => `${count} ${count === 1 ? one : more}`
