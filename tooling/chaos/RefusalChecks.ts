import type { Evidence, Violation } from "./Evidence.ts"
import type { Call } from "./History.ts"
import { slack } from "./Timing.ts"

/** A time in which a caller may have met a row in a state. */
interface State {
  readonly status: string
  readonly from: number
  readonly until: number
}

/** I5, I20: whoever is told to consent, or that there is no connection, is told what the row said at some instant of the call. */
export const refusedTruly = (evidence: Evidence): ReadonlyArray<Violation> =>
  evidence.history.subjects.flatMap(({ id }) => {
    const states = statesOf(evidence, id)
    return evidence.callsOf(id).flatMap((call): ReadonlyArray<Violation> => {
      const told = refusals.get(call.status)
      if (told === undefined) return []
      const { at, code = told.code, correlation, end, status } = call
      const met = states.filter(({ from, until }) => from <= end && at <= until)
      if (code === told.code && met.some((state) => told.states.includes(state.status))) return []
      const rows = met.map((state) => state.status).join(", then ")
      const log = correlation === undefined ? undefined : evidence.history.log[correlation]
      return [{
        id: told.id,
        what: `a call was answered ${status} (${code}) by a row: ${rows}`,
        connection: id,
        at,
        log
      }]
    })
  })

/** What each refusal says of the row. */
const refusals: ReadonlyMap<Call["status"], {
  readonly id: string
  readonly code: string
  readonly states: ReadonlyArray<string>
}> = new Map([
  [404, { id: "I20", code: "connection_not_found", states: ["absent", "revoking"] }],
  [409, { id: "I5", code: "reauthorization_required", states: ["needs_reauth"] }]
])

/**
 * The states of a row. One is noted before it is committed: until then the one before may be met, for as long as whoever
 * changed it was not answered.
 */
const statesOf = ({ changesOf, deedsOf }: Evidence, connection: number): ReadonlyArray<State> => {
  const changes = changesOf(connection)
  const committed = (at: number): number =>
    Math.max(
      at + slack,
      ...deedsOf(connection).filter((deed) => deed.at <= at && at <= deed.end).map(({ end }) => end)
    )
  return [{ at: -Infinity, status: "absent" }, ...changes].map(({ at, status }, index) => {
    const next = changes[index]
    return { status, from: at, until: next === undefined ? Infinity : committed(next.at) }
  })
}
