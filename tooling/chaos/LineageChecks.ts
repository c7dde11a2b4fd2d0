import type { Evidence, Violation } from "./Evidence.ts"
import type { Call } from "./History.ts"

/** I4: generations go up by one within a life, and a life begins only by what a person did. */
export const lineage = (evidence: Evidence): ReadonlyArray<Violation> =>
  evidence.history.subjects.flatMap(({ id }) => {
    const violations: Array<Violation> = []
    const lives = new Set<string>()
    const last = new Map<string, number>()
    for (const { at, epoch, generation } of evidence.changesOf(id)) {
      lives.add(epoch)
      const before = last.get(epoch)
      if (before !== undefined && generation !== before && generation !== before + 1) {
        violations.push({ id: "I4", what: `generation ${before} became ${generation}`, connection: id, at })
      }
      last.set(epoch, generation)
      const deeds = evidence.deedsOf(id).filter((deed) => deed.at <= at).length
      if (lives.size > deeds) {
        violations.push({ id: "I4", what: "a life began that nobody began", connection: id, at })
        lives.delete(epoch)
      }
    }
    return violations
  })

/** I4, I23: after a new consent no older token comes, and after a disconnect none at all. */
export const obedient = (evidence: Evidence): ReadonlyArray<Violation> =>
  evidence.history.subjects.flatMap(({ id }) => {
    const deeds = evidence.deedsOf(id)
    const done = deeds.filter((deed) => deed.done).sort((a, b) => a.end - b.end)
    const violations: Array<Violation> = []
    let next = 0
    let newest = 0
    for (const { at, end, token } of evidence.callsOf(id)) {
      for (; next < done.length && done[next]!.end < at; next++) newest = Math.max(newest, done[next]!.grant ?? 0)
      const issue = token === undefined ? undefined : evidence.issues.get(token)
      if (issue === undefined) continue
      if (issue.grant.id < newest) {
        violations.push({ id: "I4", what: "a token of an older consent came after a new one", connection: id, at })
      }
      const latest = done[next - 1]
      if (latest?.what !== "disconnect") continue
      if (!deeds.some((deed) => deed.what === "deposit" && deed.at >= latest.at && deed.at <= end)) {
        violations.push({ id: "I23", what: "a token came after the disconnect", connection: id, at })
      }
    }
    return violations
  })

/** I20: the answers of all replicas could have been those of one, which never goes back and names each generation once. */
export const asIfOne = (evidence: Evidence): ReadonlyArray<Violation> =>
  evidence.history.subjects.flatMap(({ id }) => {
    const violations: Array<Violation> = []
    const handedOut = new Map<string, { readonly token: string; readonly doubtful: boolean }>()
    // What could not be committed is handed out all the same: it was redeemed. Later answers need not know of it.
    const doubtful = ({ at, end, replica }: Call) => evidence.faults.any(replica, at, end)
    const seen = new Map<number, number>()
    const calls = evidence.callsOf(id).filter(({ token }) => token !== undefined && evidence.issues.has(token))
    const ended = [...calls].sort((a, b) => a.end - b.end)
    let next = 0
    for (const call of calls) {
      const { at, generation = 0, token = "" } = call
      for (; next < ended.length && ended[next]!.end < at; next++) {
        const earlier = ended[next]!
        if (doubtful(earlier)) continue
        const grant = evidence.issues.get(earlier.token!)!.grant.id
        seen.set(grant, Math.max(seen.get(grant) ?? 0, earlier.generation ?? 0))
      }
      const grant = evidence.issues.get(token)!.grant.id
      if (generation < (seen.get(grant) ?? 0)) {
        violations.push({ id: "I20", what: "an older generation came after a newer one", connection: id, at })
      }
      const name = `${grant}/${generation}`
      const first = handedOut.get(name)
      if (first === undefined || first.doubtful) handedOut.set(name, { token, doubtful: doubtful(call) })
      else if (first.token !== token && !doubtful(call)) {
        violations.push({ id: "I20", what: `generation ${generation} is two tokens`, connection: id, at })
      }
    }
    return violations
  })
