import { Deadlines } from "@valetkey/domain/Deadlines"
import { Result } from "effect"

/**
 * The deadlines of replicas under chaos, in milliseconds: as much shorter than the standard ones as a run is shorter than
 * an incident, and long enough for a machine of two cores that is never idle.
 */
export const timing = { http: 3000, refresh: 6000, lease: 8000, waiter: 10_000, claim: 500 } as const

/** How long it takes until a result is stored or settled: by who received it, or out of its spool. */
export const settled = timing.lease + timing.waiter

/** What a fault leaves behind after its end: sockets that still have to fail, a queue that still has to drain. */
export const aftermath = 1500

/** How long an operation of the store may take. */
export const storeDeadline = 4000

/** How long a connection is left alone after an answer without an access token. */
export const forgotten = 60_000

/** The same, and a little. */
export const misconfigured = forgotten + 5000

/** How long the circuit of a token endpoint may stay open after an outage. */
export const circuit = 60_000

/** What a busy machine may add to anything. */
export const slack = 4000

/** The same for the replicas. */
export const deadlines: Deadlines = Result.getOrThrow(Deadlines.make(timing))
