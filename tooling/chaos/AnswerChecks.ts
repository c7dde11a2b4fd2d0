import { type Evidence, isTurnedAway, type Violation } from "./Evidence.ts"
import { excuseOf } from "./Excuses.ts"
import type { Call, Redemption } from "./History.ts"
import { slack, storeDeadline, timing } from "./Timing.ts"

type Check = (evidence: Evidence) => ReadonlyArray<Violation>

/** How long a provider that turned a refresh away is not asked again, as far as the plans of a run go. */
const pacing = 5000

const turnsAway = (redemption: Redemption): boolean => redemption.outcome === "turned_away" || isTurnedAway(redemption)

/** One check per answer. */
const each = (id: string, judge: (evidence: Evidence, call: Call) => string | undefined): Check => (evidence) =>
  evidence.history.calls.flatMap((call) => {
    const what = judge(evidence, call)
    const log = call.correlation === undefined ? undefined : evidence.history.log[call.correlation]
    return what === undefined ? [] : [{ id, what, connection: call.connection, at: call.at, log }]
  })

/**
 * I6: what is handed out had half of its lifetime left when it was read, or any of it while the provider turned refreshes
 * away, and nobody had shown before that it is refused.
 */
export const fresh: Check = (evidence) => [
  ...each(
    "I6",
    ({ faults, history, issues, redemptionsOf, subjects }, { at, connection, end, rejected, replica, token }) => {
      const issue = token === undefined ? undefined : issues.get(token)
      if (issue === undefined) return undefined
      if (token === rejected) return "the rejected token came back"
      const half = (subjects.get(connection)?.lifetimeSeconds ?? 0) * 500
      const left = issue.expiresAt - at + history.skew + issue.delay + 250
      if (left >= half) return undefined
      if (left < 0) return "a token came when it was over"
      const unavailable = faults.any(replica, at - pacing, end) ||
        redemptionsOf(connection).some((one) => turnsAway(one) && one.at > at - pacing && one.at < end)
      return unavailable ? undefined : "a token came with less than half of its lifetime"
    }
  )(evidence),
  ...evidence.history.subjects.flatMap(({ id }) => rejectedAgain(evidence, id))
]

/** Tokens that came back although a call that proved them rejected had been answered before. */
const rejectedAgain = ({ callsOf }: Evidence, connection: number): ReadonlyArray<Violation> => {
  const calls = callsOf(connection)
  const answered = calls.filter(({ rejected, status }) => rejected !== undefined && status === 200)
    .sort((a, b) => a.end - b.end)
  const refused = new Set<string>()
  let next = 0
  return calls.flatMap(({ at, token }): ReadonlyArray<Violation> => {
    for (; next < answered.length && answered[next]!.end < at; next++) refused.add(answered[next]!.rejected!)
    return token !== undefined && refused.has(token)
      ? [{ id: "I6", what: "a token that was shown to be refused was handed out again", connection, at }]
      : []
  })
}

/** I7: everybody is answered in time; what a stopped or dead process or line took is not counted. */
export const inTime: Check = (evidence) => [
  ...each("I7", ({ faults }, { at, end, replica }) => {
    const allowed = timing.waiter + 2 * storeDeadline + slack
    if (end - at <= allowed) return undefined
    const lost = faults.during(replica, at, end)
      .reduce((sum, fault) => sum + Math.min(end, fault.to) - Math.max(at, fault.from), 0)
    return end - at - Math.max(0, lost) > allowed ? `a call took ${Math.round(end - at)} ms` : undefined
  })(evidence),
  ...evidence.history.rest.filter(({ phase }) => phase !== "idle").map(({ connection, phase }) => ({
    id: "I7",
    what: `a row stayed ${phase} when everything was at rest`,
    connection,
    at: evidence.history.healedAt
  }))
]

/** I10: nobody gets a token of somebody else's consent, or one that no provider issued. */
export const isolated: Check = each("I10", ({ issues }, { connection, token }) => {
  if (token === undefined) return undefined
  const issue = issues.get(token)
  if (issue === undefined) return "a token was handed out that no provider issued"
  return issue.grant.connection === connection ? undefined : "a token of another connection was handed out"
})

/** I19: every accepted call is answered, with nothing worse than a 503 that says when to come back, and a drain ends well. */
export const answered: Check = (evidence) => [
  ...wellAnswered(evidence),
  ...evidence.history.exits.filter(({ at, code, end }) => code !== 0 || end - at > timing.waiter + slack * 2)
    .map(({ at, code, end, replica }) => ({
      id: "I19",
      what: `replica ${replica} ended with ${code} after ${Math.round(end - at)} ms`,
      at
    }))
]

const wellAnswered: Check = each("I19", ({ faults }, call) => {
  const { accepted, code, missed, phase, read, replica, retryAfter, status } = call
  if (status === 0) {
    if (excuseOf(faults, call) !== undefined) return undefined
    const seen = `replica ${replica} accepted: ${accepted ?? "unknown"}, read: ${read ?? "unknown"}`
    return `an accepted call was not answered (${missed}; ${phase}; ${seen})`
  }
  if (status === 503) return retryAfter ? undefined : `a 503 (${code}) did not say when to come back`
  return status === 200 || status === 404 || status === 409 ? undefined : `a call was answered ${status} (${code})`
})
