import type { Evidence, Violation } from "./Evidence.ts"
import type { Call, Fault } from "./History.ts"
import { forgetful } from "./ProviderPlans.ts"
import { aftermath, circuit, forgotten, slack, timing } from "./Timing.ts"

/** How long a replica may serve nobody while nothing is done to it or its store: as long as one caller may wait. */
const recovery = timing.waiter

/** What is served: a token, or the reason why there is none that only a person can change. */
const serving = new Set([200, 404, 409])

/** I21: whatever happened, a replica that is left alone serves again, and in the end every connection is answered. */
export const healed = (evidence: Evidence): ReadonlyArray<Violation> => {
  const { calls, faults, healedAt, subjects } = evidence.history
  const asked = calls.filter((call) => !isLeftAlone(evidence, call))
  const replicas = [...new Set(calls.map(({ replica }) => replica))]
  const slow = replicas.flatMap((replica): ReadonlyArray<Violation> => {
    const left = aloneIn(faults.filter((fault) => (fault.replica ?? replica) === replica))
    let silentSince: number | undefined
    let heard = -Infinity
    return asked.filter((call) => call.replica === replica).sort((a, b) => a.end - b.end)
      .flatMap(({ at, end, status }): ReadonlyArray<Violation> => {
        if (serving.has(status)) {
          silentSince = undefined
          heard = end
          return []
        }
        // Whom nobody asks serves nobody: silence begins with a question.
        silentSince ??= Math.max(at, heard)
        if (left(silentSince, end) <= recovery + slack) return []
        silentSince = undefined
        heard = end
        return [{ id: "I21", what: `replica ${replica} served nobody although nothing was done to it`, at: end }]
      })
  })
  const since = new Map<number, number>()
  const served = new Set<number>()
  for (const { at, connection, end, status } of calls) {
    if (at < healedAt) continue
    const first = Math.min(at, since.get(connection) ?? at)
    since.set(connection, first)
    if (serving.has(status) && end <= first + timing.lease + timing.waiter + circuit + slack) {
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

/** Whether the provider forgot the access token of this connection a moment ago: then nobody can be served, and nobody asks it. */
const isLeftAlone = ({ redemptionsOf }: Evidence, { at, connection, status }: Call): boolean =>
  status === 503 &&
  redemptionsOf(connection).some(({ answered, plan }) =>
    plan === forgetful && answered !== undefined && answered <= at + slack && at <= answered + forgotten + slack
  )

/** How much of a time is free of faults and their aftermath. */
const aloneIn = (faults: ReadonlyArray<Fault>) => {
  const felt: Array<{ readonly from: number; to: number }> = []
  for (const { from, to } of [...faults].sort((a, b) => a.from - b.from)) {
    const last = felt.at(-1)
    if (last !== undefined && from <= last.to) last.to = Math.max(last.to, to + aftermath)
    else felt.push({ from, to: to + aftermath })
  }
  return (from: number, to: number): number =>
    felt.reduce((left, one) => left - Math.max(0, Math.min(to, one.to) - Math.max(from, one.from)), to - from)
}
