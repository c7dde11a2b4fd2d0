import { Array } from "effect"
import { commitsOf, type Evidence, type Violation } from "./Evidence.ts"
import type { Change, Grant, Redemption, Subject } from "./History.ts"
import { garbage, gateway } from "./ProviderPlans.ts"
import { settled, timing } from "./Timing.ts"

/** I1: how often each refresh token arrived, against its policy and what was known when it was sent again. */
export const redeemedOnce = (evidence: Evidence): ReadonlyArray<Violation> => {
  const violations: Array<Violation> = []
  for (const arrivals of evidence.attempts.values()) {
    // A request may leave long after its mark, and arrive after the one that took over.
    const markedAt = (one: Redemption) => evidence.markOf(one)?.at ?? one.at
    const inTurn = [...arrivals].sort((a, b) => markedAt(a) - markedAt(b))
    const counted = Array.dropWhile(inTurn, (one, place) => {
      const next = inTurn[place + 1]
      return isNameless(one, next && markedAt(next) - markedAt(one))
    })
    const [first, second] = counted
    if (first === undefined || second === undefined) continue
    const connection = evidence.grants.get(first.grant)?.connection ?? -1
    const policy = evidence.subjects.get(connection)?.policy
    const report = (what: string) => violations.push({ id: "I1", what, connection, at: second.at })
    if (policy === "strict") report(`a strict refresh token arrived ${counted.length} times`)
    else if (counted.length > 2) report(`a refresh token arrived ${counted.length} times`)
    else if (!evidence.uncertain(first)) report("a refresh token was sent again although its first outcome was known")
  }
  return violations
}

/**
 * Whether a refresh token was refused by a page that names no error, and the store knew: somebody sent it again before the
 * lease was over. While every earlier outcome is known it may leave again (guarantees.md 4.5, TOK-19).
 */
const isNameless = ({ answered, outcome, plan }: Redemption, after: number | undefined): boolean =>
  plan === garbage && outcome === "refused" && answered !== undefined && after !== undefined && after < timing.lease

/**
 * I3: what a provider rotated and a living process received is stored soon: as the next generation of the life that
 * redeemed it, unless a person began or ended a life meanwhile. And it is redeemed next, or handed out in the end, unless
 * the person changed the connection or was asked to.
 */
export const nothingLost = (evidence: Evidence): ReadonlyArray<Violation> =>
  evidence.history.subjects.flatMap(({ id }) => {
    const deeds = evidence.deedsOf(id)
    const commits = commitsOf(evidence.changesOf(id)).map((commit) => ({ ...commit, taken: false }))
    const inTheEnd = new Set(
      evidence.callsOf(id).filter(({ at }) => at >= evidence.history.healedAt).map(({ token }) => token)
    )
    return evidence.redemptionsOf(id).flatMap((redemption): ReadonlyArray<Violation> => {
      const { accessToken, at, grant, outcome, refreshToken, token } = redemption
      // The last of all is redeemed by nobody: the run ends.
      if (outcome !== "issued" || refreshToken === undefined || at >= evidence.history.healedAt) return []
      if (evidence.uncertain(redemption)) return []
      if ((evidence.attempts.get(token)?.length ?? 0) > 1) return []
      const until = at + settled
      const mark = evidence.markOf(redemption)
      const commit = commits.find((commit) =>
        !commit.taken && commit.at >= at && commit.at <= until &&
        (mark === undefined || commit.epoch === mark.epoch && commit.generation === mark.generation + 1)
      )
      if (commit !== undefined) commit.taken = true
      else if (!deeds.some((deed) => deed.end >= at && deed.at <= until)) {
        return [{ id: "I3", what: "a refresh token that was received was not stored", connection: id, at }]
      }
      if (evidence.attempts.has(refreshToken) || accessToken !== undefined && inTheEnd.has(accessToken)) return []
      if (deeds.some(({ end }) => end >= at) || evidence.grants.get(grant)?.revokedAt !== undefined) return []
      if (evidence.changesOf(id).some((change) => change.status === "needs_reauth" && change.at >= at)) return []
      return [{ id: "I3", what: "a refresh token that was received is never redeemed", connection: id, at }]
    })
  })

/** I5, I3′: a person is asked only when the provider withdrew the grant, or the policy's attempts have no known outcome. */
export const nobodyAskedInVain = (evidence: Evidence): ReadonlyArray<Violation> =>
  evidence.history.subjects.flatMap((subject) => {
    let before = ""
    return evidence.changesOf(subject.id).flatMap((change): ReadonlyArray<Violation> => {
      const asked = change.status === "needs_reauth" && before !== "needs_reauth"
      before = change.status
      if (!asked || candidates(evidence, change).some((grant) => explains(evidence, subject, grant, change))) return []
      const what = `asked to consent again (${change.reason}) without a reason`
      return [{ id: "I5", what, connection: subject.id, at: change.at }]
    })
  })

/** The grants that may have been the connection's when its row changed. */
const candidates = (evidence: Evidence, { at, connection }: Change): ReadonlyArray<Grant> => {
  const replaced = evidence.deedsOf(connection)
    .filter(({ done, end, what }) => done && what === "deposit" && end < at)
    .at(-1)
  return evidence.grantsOf(connection).filter((grant) => grant.at <= at && grant.id >= (replaced?.grant ?? 0))
}

const explains = (evidence: Evidence, { id, mode, policy }: Subject, grant: Grant, change: Change): boolean => {
  const arrivals = evidence.redemptionsOf(id).filter((one) => one.grant === grant.id && one.at <= change.at)
  // Where a reuse ends the whole consent, the attempt after one of unknown outcome may be that reuse.
  const reused = (mode === "revoke" || mode === "real") &&
    arrivals.some(({ at, token }) => evidence.attempts.get(token)?.some((other) => other.at < at) === true)
  // A 502 or 504 in place of a rotation lets the refresh token leave again, and that one is refused.
  const misled = arrivals.some(({ at, outcome, token }) =>
    outcome === "refused" &&
    arrivals.some((other) => other.plan === gateway && other.token === token && other.at < at)
  )
  const withdrawn = grant.revokedAt !== undefined && grant.revokedAt <= change.at || reused
  if (change.reason === "refresh_token_rejected") {
    return (withdrawn || misled) && arrivals.some(({ outcome }) => outcome === "refused")
  }
  if (change.reason !== "unknown_outcome") return false
  const last = arrivals.at(-1)
  const [before, after] = [last?.token ?? grant.refreshToken, last?.refreshToken]
  // What was stored for certain is what was tried next, although nothing of that may have arrived.
  const current = last === undefined || after === undefined || evidence.uncertain(last) ? before : after
  const attempts = (evidence.attempts.get(current) ?? []).filter(({ at }) => at <= change.at)
  // That one was turned away may have been unknown to the store, too.
  const doubts = arrivals.filter((one) => one.token === current && evidence.uncertain(one)).length
  const unknown = doubts + vanished(evidence, change, arrivals)
  const refused = attempts.some(({ outcome }) => outcome === "refused")
  return unknown >= (policy === "strict" || refused ? 1 : 2)
}

/**
 * How many attempts with the refresh token of a generation were marked and never arrived, each because something was done
 * to who marked it or to its lines while the request could leave.
 */
const vanished = (
  { faults, markOf, marksOf }: Evidence,
  { at, connection, epoch, generation }: Change,
  arrivals: ReadonlyArray<Redemption>
): number =>
  marksOf(connection).filter((mark) =>
    mark.epoch === epoch && mark.generation === generation && mark.at <= at &&
    !arrivals.some((one) => markOf(one) === mark) &&
    faults.any(mark.replica, mark.at, mark.at + timing.lease)
  ).length
