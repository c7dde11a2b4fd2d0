import { Metric } from "effect"

// Labels are words of this code, never a tenant, a person, a server or a URL: the number of series is bounded.

const counter =
  (name: string, description: string) => (attributes: Metric.Metric.Attributes = {}): Metric.Counter<number> =>
    Metric.counter(`valetkey_${name}_total`, { description, attributes, incremental: true })

const flowsStarted = counter("flows_started", "Flows that were started")
const flowsSettled = counter("flows_settled", "Flows that ended")
const refreshes = counter("refreshes", "Redemptions of refresh tokens")
const claims = counter("lease_claims", "Claims of the right to redeem")
const reads = counter("token_reads", "Access tokens that were handed out")
const pauses = counter("paced_refreshes", "Refreshes that were put off for the sake of their token endpoint")
const renewals = counter("renewals", "Renewals of credentials before anybody asked")
const rounds = counter("housekeeping_rounds", "Rounds of housekeeping")
const dropped = counter("callbacks_dropped", "Callbacks that were answered without a look at the store")
const rowsPutAside = counter("rows_put_aside", "Stored rows that cannot be read and were put aside")
const revocations = counter("revocations", "Revocations that were settled at authorization servers")

/** Counts a flow that was started, by its transport. */
export const flowStarted = (transport: string): Metric.Counter<number> => flowsStarted({ transport })

/** Counts a flow that ended, by its terminal state or failure code. */
export const flowSettled = (outcome: string): Metric.Counter<number> => flowsSettled({ outcome })

/** Counts a callback that was dropped for its state: nobody here made it, or too many came that only the store can tell. */
export const callbackDropped = (verdict: "foreign" | "undecided"): Metric.Counter<number> => dropped({ verdict })

/** Counts a redemption, by `ok` or the kind of its failure. */
export const refreshed = (outcome: string): Metric.Counter<number> => refreshes({ outcome })

/** How long the token endpoint and the storing of its answer took. */
export const refreshDuration: Metric.Histogram<number> = Metric.histogram("valetkey_refresh_duration_seconds", {
  description: "Time of a redemption until its result is stored",
  boundaries: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
})

/** Counts a claim of a lease, by its outcome. */
export const leaseClaimed = (outcome: string): Metric.Counter<number> => claims({ outcome })

/** Counts tokens that were handed out as they were stored: one object, because this is the hot path. */
export const storedReads: Metric.Counter<number> = reads({ source: "stored" })

/** Counts tokens that a refresh brought. */
export const refreshedReads: Metric.Counter<number> = reads({ source: "refreshed" })

/** Counts a refresh that was put off, by its reason. */
export const paced = (reason: "asked" | "open"): Metric.Counter<number> => pauses({ reason })

/** Refreshes that are under way in this process. */
export const refreshesInFlight: Metric.Gauge<number> = Metric.gauge("valetkey_refreshes_in_flight", {
  description: "Refreshes that are under way in this process"
})

/** Counts a renewal that nobody asked for, by what it was for and whether it failed. */
export const renewed = (cause: "ahead" | "keep_alive", outcome: "ok" | "failed"): Metric.Counter<number> =>
  renewals({ cause, outcome })

/** Counts a round of housekeeping, by its piece and whether it failed. */
export const housekeepingRound = (piece: string, outcome: "ok" | "failed"): Metric.Counter<number> =>
  rounds({ piece, outcome })

/** Counts a stored row that was put aside because it cannot be read, by its table. */
export const rowPutAside = (table: string): Metric.Counter<number> => rowsPutAside({ table })

/** Counts a revocation that was settled, by its outcome. */
export const revoked = (outcome: string): Metric.Counter<number> => revocations({ outcome })

/** Counts connections whose stored row went back to an older state. */
export const rollbacks: Metric.Counter<number> = counter(
  "rollbacks",
  "Stored connections that went back to an older state"
)()

/** Revocations that are still owed. */
export const outboxDepth: Metric.Gauge<number> = Metric.gauge("valetkey_outbox_depth", {
  description: "Revocations that are still owed to authorization servers"
})

/** How far an authorization server's clock is from this host's, by the `Date` of its token answers (RFC 9110 §6.6.1); half a minute and less is noise. */
export const providerClockSkew: Metric.Histogram<number> = Metric.histogram("valetkey_provider_clock_skew_seconds", {
  description: "Distance between the clock of an authorization server and this host's",
  boundaries: [1, 5, 30, 60, 300, 900, 3600, 86_400]
})
