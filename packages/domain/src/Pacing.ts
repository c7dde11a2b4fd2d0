import { Duration } from "effect"
import { isToCome, longestLease } from "./StoredTime.ts"

/** What the replicas know of a token endpoint, with times in milliseconds of the store's clock. */
export interface EndpointState {
  /** Requests in a row that brought no answer. */
  readonly failures: number
  /** How often in a row the circuit opened. */
  readonly trips: number
  /** Until when nobody asks, because nobody answered; before the circuit opens, when that was last. */
  readonly openUntil: number
  /** Until when one request of somebody decides whether the endpoint is back. */
  readonly probeUntil: number
  /** Until when the endpoint asked to be left alone. */
  readonly notBefore: number
}

/** Nothing is known that would keep anybody from asking. */
export const healthy: EndpointState = { failures: 0, trips: 0, openUntil: 0, probeUntil: 0, notBefore: 0 }

/** Whether a request may be sent. */
export type Admission =
  | { readonly _tag: "Go" }
  /** The caller alone may ask, and its outcome decides for all. */
  | { readonly _tag: "Probe" }
  /** The endpoint asked for a pause, or does not answer. */
  | { readonly _tag: "Wait"; readonly reason: "asked" | "open"; readonly remaining: Duration.Duration }

/** What a request has shown of its endpoint. */
export type EndpointAnswer =
  /** It answers, be it with a refusal. */
  | { readonly _tag: "Answered" }
  /** It answers, and asks to be left alone for a while. */
  | { readonly _tag: "Asked"; readonly delay: Duration.Duration }
  /** Nothing usable came. */
  | { readonly _tag: "Silent" }
  /** Nothing was sent: a probe is for somebody else. */
  | { readonly _tag: "Abandoned" }

/** After so many requests without an answer the circuit opens. */
export const threshold = 5

/** No endpoint keeps its clients away for longer by its own word. */
export const longestPause = Duration.hours(1)

/** No circuit stays open for longer before somebody tries again. */
export const longestCooldown = Duration.minutes(1)

/** How long the circuit stays open before somebody tries again. */
export const cooldown = (trips: number): Duration.Duration =>
  Duration.min(Duration.seconds(2 ** Math.min(trips, 10) * 4), longestCooldown)

/** While somebody probes, nobody else knows how long that takes; a caller asks again after no longer than this. */
const probing = Duration.seconds(5)

/** The decision of an admission, and the state to store in the same atomic step when it differs. */
export interface AdmissionDecision {
  readonly admission: Admission
  readonly next: EndpointState | undefined
}

/** Whether a request may be sent now. A probe is leased: when its holder dies, the next one probes. */
export const decideAdmission = (
  state: EndpointState,
  input: { readonly lease: Duration.Duration; readonly now: number }
): AdmissionDecision => {
  const { now } = input
  if (isAsked(state, now)) return waiting("asked", Duration.millis(state.notBefore - now))
  if (state.failures < threshold) return { admission: { _tag: "Go" }, next: undefined }
  if (isOpen(state, now)) return waiting("open", Duration.millis(state.openUntil - now))
  if (isToCome(state.probeUntil, { now, longest: longestLease })) {
    return waiting("open", Duration.min(Duration.millis(state.probeUntil - now), probing))
  }
  return {
    admission: { _tag: "Probe" },
    next: { ...state, probeUntil: now + Duration.toMillis(input.lease) }
  }
}

/** The state after a request. What comes late from before the circuit opened does not open it for longer. */
export const decideAnswer = (
  state: EndpointState,
  { answer, now }: { readonly answer: EndpointAnswer; readonly now: number }
): EndpointState => {
  switch (answer._tag) {
    case "Answered":
      return { ...healthy, notBefore: isAsked(state, now) ? state.notBefore : 0 }
    case "Asked":
      return {
        ...healthy,
        notBefore: Math.max(
          isAsked(state, now) ? state.notBefore : 0,
          now + Duration.toMillis(Duration.min(answer.delay, longestPause))
        )
      }
    case "Silent": {
      const failures = state.failures + 1
      if (failures < threshold) return { ...state, failures, openUntil: now }
      return state.failures >= threshold && isOpen(state, now) ? { ...state, failures } : {
        ...state,
        failures,
        trips: state.trips + 1,
        openUntil: now + Duration.toMillis(cooldown(state.trips)),
        probeUntil: 0
      }
    }
    case "Abandoned":
      return { ...state, probeUntil: 0 }
  }
}

/** Whether an answer says nothing new of an endpoint of which nothing is known. */
export const isExpected = (answer: EndpointAnswer): boolean => answer._tag === "Answered" || answer._tag === "Abandoned"

/** Whether the state says nothing that has to be kept. */
export const isHealthy = (state: EndpointState, now: number): boolean => state.failures === 0 && !isAsked(state, now)

/** How long a state is kept after the last of its times, if nobody asks the endpoint any more. */
export const retention = Duration.hours(1)

/** Whether the state is so old that it is not kept. */
export const isPast = ({ notBefore, openUntil, probeUntil }: EndpointState, now: number): boolean =>
  Math.max(openUntil, probeUntil, notBefore) < now - Duration.toMillis(retention)

/** How long a process passes a slot on among its own before the other replicas have their turn. */
export const handOver = Duration.seconds(1)

/** No slot is leased for longer: one redemption, and the time for which it is passed on. */
export const longestSlot = Duration.sum(longestLease, handOver)

/** How many redemptions may be under way at a provider at once, over all tenants and replicas. */
export interface RedemptionCap {
  /** A token endpoint, or an origin for all of its token endpoints. */
  readonly endpoint: string
  readonly cap: number
}

/** The cap of a token endpoint: that of its URL, else that of its origin. */
export const capOf = (caps: ReadonlyArray<RedemptionCap>, tokenEndpoint: string): RedemptionCap | undefined =>
  caps.find(({ endpoint }) => endpoint === tokenEndpoint) ??
    caps.find(({ endpoint }) => endpoint.replace(/\/$/, "") === URL.parse(tokenEndpoint)?.origin)

const isAsked = ({ notBefore }: EndpointState, now: number): boolean =>
  isToCome(notBefore, { now, longest: longestPause })

const isOpen = ({ openUntil }: EndpointState, now: number): boolean =>
  isToCome(openUntil, { now, longest: longestCooldown })

const waiting = (reason: "asked" | "open", remaining: Duration.Duration): AdmissionDecision => ({
  admission: { _tag: "Wait", reason, remaining },
  next: undefined
})
