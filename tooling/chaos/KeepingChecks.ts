import { commitsOf, type Evidence, storing, type Violation, wholePlans } from "./Evidence.ts"
import type { Fault, Redemption } from "./History.ts"
import { aftermath, settled, timing } from "./Timing.ts"

/** What is done to the store, or to a process that may end what it began: neither keeps an answer from its receiver. */
const passable = new Set(["store line", "database crash", "term"])

/**
 * I3, I3′: a rotation that a process received while it could not store it is stored once it can, whatever was sent or decided
 * by others meanwhile, unless a person began or ended a life. Who is killed a while after the answer has left it in its spool.
 * What nothing kept from being stored is judged more strictly by `nothingLost`.
 */
export const keptThroughFaults = (evidence: Evidence): ReadonlyArray<Violation> => {
  const over = evidence.history.calls.reduce((latest, { end }) => Math.max(latest, end), 0)
  return evidence.history.subjects.flatMap(({ id }) => {
    const commits = commitsOf(evidence.changesOf(id))
    return evidence.redemptionsOf(id).flatMap((redemption): ReadonlyArray<Violation> => {
      const { at, token } = redemption
      const attempts = evidence.attempts.get(token) ?? []
      const doubtful = evidence.uncertain(redemption) || attempts.length > 1
      const until = doubtful ? dueOf(evidence, redemption) : undefined
      // What would be due after the end of the run may still come.
      if (until === undefined || until > over) return []
      const mark = evidence.markOf(redemption)
      const stored = commits.some((commit) =>
        // Whose answer was stored is all the same.
        commit.at >= Math.min(at, ...attempts.map((attempt) => attempt.at)) && commit.at <= until &&
        (mark === undefined || commit.epoch === mark.epoch && commit.generation === mark.generation + 1)
      )
      if (stored || evidence.deedsOf(id).some((deed) => deed.end >= at && deed.at <= until)) return []
      return [{
        id: "I3",
        what: "a refresh token that was received under a fault was never stored",
        connection: id,
        at
      }]
    })
  })
}

/** Until when a rotation has to be stored; undefined when nobody may have received it or have had the time to spool it. */
const dueOf = (evidence: Evidence, redemption: Redemption): number | undefined => {
  const { answered, at, outcome, plan, refreshToken, replica } = redemption
  if (outcome !== "issued" || refreshToken === undefined || answered === undefined || !wholePlans.has(plan)) {
    return undefined
  }
  const marked = evidence.markOf(redemption)?.at ?? at
  const patience = timing.http / 2
  if (answered - marked > patience) return undefined
  // The end of a process that was there before is over.
  const during = (from: number, to: number): ReadonlyArray<Fault> =>
    evidence.faults.during(replica, from, to).filter((fault) => fault.to >= marked || !endings.test(fault.what))
  if (during(marked, answered + patience).some(({ what }) => !passable.has(what))) return undefined
  const hindered = during(marked, answered + storing)
  let until = Math.max(answered, ...hindered.map(({ to }) => to)) + settled
  const later = during(answered + storing, until + settled).filter((fault) => !hindered.includes(fault))
  // What is done to it in the meantime takes from its time.
  for (const { from, to } of later.toSorted((a, b) => a.from - b.from)) {
    if (from <= until) until += to - from + aftermath
  }
  return until
}

/** Faults that end a process. */
const endings = /^(?:kill|term)/
