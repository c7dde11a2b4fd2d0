import type { Evidence, Violation } from "./Evidence.ts"
import type { Call } from "./History.ts"
import { circuit, slack, timing } from "./Timing.ts"

/** How long a replica may serve nobody after a fault of its own or of its store is over. */
const recovery = 5000

/** I21: after each fault its replicas serve again, and in the end every connection is answered, without an operator. */
export const healed = (evidence: Evidence): ReadonlyArray<Violation> => {
  const { calls, faults, healedAt, subjects } = evidence.history
  const replicas = [...new Set(calls.map(({ replica }) => replica))]
  const callsOf = new Map(replicas.map((replica) => [
    replica,
    calls.filter((call) => call.replica === replica).sort((a, b) => a.at - b.at)
  ]))
  const slow = faults.flatMap((fault): ReadonlyArray<Violation> => {
    const deadline = fault.to + recovery + slack
    const touched = fault.replica === undefined ? replicas : [fault.replica]
    return touched.flatMap((replica): ReadonlyArray<Violation> => {
      const asked = within(callsOf.get(replica) ?? [], fault.to, deadline)
      // Whom nobody asked served nobody.
      if (asked.length === 0 || asked.some(({ end, status }) => status === 200 && end <= deadline)) return []
      const disturbed = faults.some((other) =>
        other !== fault && (other.replica ?? replica) === replica && other.to > fault.to && other.from < deadline
      )
      return disturbed
        ? []
        : [{ id: "I21", what: `replica ${replica} served nobody after ${fault.what}`, at: fault.to }]
    })
  })
  const since = new Map<number, number>()
  const served = new Set<number>()
  for (const { at, connection, end, status } of calls) {
    if (at < healedAt) continue
    const first = Math.min(at, since.get(connection) ?? at)
    since.set(connection, first)
    if ([200, 404, 409].includes(status) && end <= first + timing.lease + timing.waiter + circuit + slack) {
      served.add(connection)
    }
  }
  return [
    ...slow,
    ...subjects.filter(({ id }) => !served.has(id)).map(({ id }) => ({
      id: "I21",
      what: "a connection was not served after everything was healed",
      connection: id,
      at: healedAt
    }))
  ]
}

/** The calls that began between two instants, of calls in the order of their beginnings. */
const within = (calls: ReadonlyArray<Call>, from: number, to: number): ReadonlyArray<Call> => {
  let low = 0
  let high = calls.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (calls[middle]!.at < from) low = middle + 1
    else high = middle
  }
  let end = low
  while (end < calls.length && calls[end]!.at <= to) end++
  return calls.slice(low, end)
}
