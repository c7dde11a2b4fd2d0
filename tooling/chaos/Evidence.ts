import { type Faults, index } from "./Faults.ts"
import type { Call, Change, Deed, Grant, History, Mark, Redemption, Subject } from "./History.ts"
import { forgetful, gateway } from "./ProviderPlans.ts"
import { slack, timing } from "./Timing.ts"

/** One thing that must not have happened. */
export interface Violation {
  /** The guarantee that it breaks, as docs/guarantees.md names it. */
  readonly id: string
  readonly what: string
  readonly at: number
  readonly connection?: number | undefined
  /** What the log says about it. */
  readonly log?: ReadonlyArray<string> | undefined
}

/** Where an access token came from. */
export interface Issue {
  readonly grant: Grant
  readonly expiresAt: number
  /** How long the answer was on its way; the broker counts a lifetime from its arrival. */
  readonly delay: number
}

/** A history as the checks read it: grouped, ordered, and with the doubts that faults leave. */
export interface Evidence {
  readonly history: History
  readonly faults: Faults
  readonly subjects: ReadonlyMap<number, Subject>
  readonly grants: ReadonlyMap<number, Grant>
  /** By refresh token, in the order of arrival, without those that were turned away. */
  readonly attempts: ReadonlyMap<string, ReadonlyArray<Redemption>>
  readonly redemptionsOf: (connection: number) => ReadonlyArray<Redemption>
  readonly callsOf: (connection: number) => ReadonlyArray<Call>
  readonly deedsOf: (connection: number) => ReadonlyArray<Deed>
  readonly changesOf: (connection: number) => ReadonlyArray<Change>
  readonly marksOf: (connection: number) => ReadonlyArray<Mark>
  /** The mark after which a request left: its sender's last one. */
  markOf(redemption: Redemption): Mark | undefined
  readonly grantsOf: (connection: number) => ReadonlyArray<Grant>
  readonly issues: ReadonlyMap<string, Issue>
  /** Whether the sender may not have learned, or not have kept, what became of a request. */
  uncertain(redemption: Redemption): boolean
}

/** How long storing a result may take, and with it how long a fault after the answer can still undo it. */
export const storing = timing.refresh - timing.http + slack

/** Plans that end with an answer which says all that there is to know. */
export const wholePlans: ReadonlySet<string> = new Set(["honest", "slow", forgetful])

/**
 * Whether the sender was told that nothing was redeemed. Behind a gateway that is not so, but a 502 or 504 is what a provider
 * says that is down, so the refresh token may leave again (guarantees.md 4.5, TOK-20): what is lost then, the gateway lost.
 */
export const isTurnedAway = ({ answered, outcome, plan }: Redemption): boolean =>
  answered !== undefined && (outcome === "turned_away" || plan === gateway)

/** Prepares a history for the checks. */
export const gather = (history: History): Evidence => {
  const faults = index(history.faults)
  const grants = new Map(history.grants.map((grant) => [grant.id, grant]))
  const connectionOf = ({ grant }: Redemption) => grants.get(grant)?.connection ?? -1
  const redemptions = [...history.redemptions].sort((a, b) => a.at - b.at)
  const attempts = grouped(
    redemptions.filter((redemption) => !isTurnedAway(redemption)),
    ({ token }) => token
  )
  const issues = new Map<string, Issue>()
  for (const grant of history.grants) {
    if (grant.accessToken !== "") issues.set(grant.accessToken, { grant, expiresAt: grant.at, delay: 0 })
  }
  for (const { accessToken, answered, at, expiresAt, grant: id } of redemptions) {
    const grant = grants.get(id)
    if (accessToken === undefined || grant === undefined) continue
    issues.set(accessToken, { grant, expiresAt: expiresAt ?? Infinity, delay: (answered ?? at + timing.http) - at })
  }
  const commits = new Map([...grouped(history.changes, byConnection)].map(([id, changes]) => [id, commitsOf(changes)]))
  const marksOf = lookup(grouped(history.marks, byConnection))
  const markOf = (redemption: Redemption) =>
    marksOf(connectionOf(redemption)).findLast(({ at, replica }) =>
      replica === redemption.replica && at <= redemption.at
    )
  return {
    history,
    faults,
    subjects: new Map(history.subjects.map((subject) => [subject.id, subject])),
    grants,
    attempts,
    redemptionsOf: lookup(grouped(redemptions, connectionOf)),
    callsOf: lookup(grouped([...history.calls].sort((a, b) => a.at - b.at), byConnection)),
    deedsOf: lookup(grouped([...history.deeds].sort((a, b) => a.at - b.at), byConnection)),
    changesOf: lookup(grouped(history.changes, byConnection)),
    marksOf,
    markOf,
    grantsOf: lookup(grouped(history.grants, byConnection)),
    issues,
    uncertain: (redemption) => {
      const { answered, at, outcome, plan, replica } = redemption
      if (!wholePlans.has(plan) || answered === undefined) return true
      // The sender's patience begins with its mark: on a busy machine a request may be under way for long.
      if (answered - (markOf(redemption)?.at ?? at) > timing.http / 2) return true
      const stored = outcome === "issued"
        ? commits.get(connectionOf(redemption))?.find((commit) => commit.at >= at)?.at ?? Infinity
        : Infinity
      return faults.during(replica, at, answered + storing).some(({ from }) => from <= stored)
    }
  }
}

/** The changes of a row that stored results: those that raised the generation of a life. */
export const commitsOf = (changes: ReadonlyArray<Change>): ReadonlyArray<Change> => {
  const newest = new Map<string, number>()
  return changes.filter(({ epoch, generation }) => {
    const before = newest.get(epoch)
    newest.set(epoch, generation)
    return before !== undefined && generation > before
  })
}

const byConnection = ({ connection }: { readonly connection: number }): number => connection

const grouped = <A, K>(values: ReadonlyArray<A>, keyOf: (value: A) => K): ReadonlyMap<K, ReadonlyArray<A>> => {
  const groups = new Map<K, Array<A>>()
  for (const value of values) {
    const key = keyOf(value)
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [value])
    else group.push(value)
  }
  return groups
}

const lookup = <A>(groups: ReadonlyMap<number, ReadonlyArray<A>>) => (connection: number): ReadonlyArray<A> =>
  groups.get(connection) ?? []
