import type { OnConflict } from "@valetkey/domain/Flow"
import type { RedemptionPolicy } from "@valetkey/domain/Server"
import type { Rotation } from "./Provider.ts"
import type { Fault } from "./Stage.ts"

/** What holds for a whole history. */
export interface Setting {
  readonly policy: RedemptionPolicy
  readonly rotation: Rotation
  /** Nothing breaks and nobody is slow: then nothing may be redeemed twice, and nobody is asked in vain. */
  readonly calm: boolean
  /** Whether both people consented before it begins. */
  readonly both: boolean
  /** Whether tokens are over when they are deposited. */
  readonly stale: boolean
  /** Whether both replicas are asked at once when it begins. */
  readonly race: boolean
  /** How long an access token lives, in milliseconds. */
  readonly lifetime: number
}

/** One choice of a script, with whatever each kind of step may need of it. */
export interface Step {
  readonly do: Kind
  readonly which: number
  readonly replica: 0 | 1
  readonly owner: 0 | 1
  readonly fault: Fault
  readonly how: "plain" | "rejecting" | "demanding"
  readonly back: "rightly" | "strange" | "misled" | "denied" | "elsewhere"
  readonly conflict: OnConflict
  readonly millis: number
  /** Whether statements of a process that dies arrive all the same. */
  readonly arrives: boolean
  /** What is lost when the provider fails. */
  readonly lost: "request" | "answer"
}

/** What a step does: a turn, or something that begins. */
export type Kind =
  | "go"
  | "rush"
  | "ask"
  | "wait"
  | "consent"
  | "disconnect"
  | "start"
  | "come back"
  | "cancel"
  | "housekeeping"
  | "provider fails"
  | "outage"
  | "die"
  | "stop"
  | "withdraw"

/** Numbers of which a history is made: one for the setting, one for each step. Smaller ones are simpler. */
export interface Script {
  readonly setting: number
  readonly steps: ReadonlyArray<number>
}

/** One more than the largest number of a script. */
export const range = 2 ** 20

const weights: ReadonlyArray<readonly [Kind, number]> = [
  ["go", 26],
  ["rush", 6],
  ["ask", 10],
  ["wait", 7],
  ["consent", 2],
  ["start", 2],
  ["come back", 4],
  ["disconnect", 1],
  ["housekeeping", 1],
  ["die", 2],
  ["provider fails", 4],
  ["outage", 1],
  ["stop", 1],
  ["cancel", 1],
  ["withdraw", 1]
]
const kinds = weights.flatMap(([kind, weight]) => Array<Kind>(weight).fill(kind))

const rotations: ReadonlyArray<Rotation> = ["refuse-old", "revoke-family", "grace", "none"]
const waits = [50, 300, 600, 1100, 2100, 3100, 7000, 61_000]
const hows: ReadonlyArray<Step["how"]> = ["plain", "plain", "rejecting", "demanding"]
const backs: ReadonlyArray<Step["back"]> = [
  "rightly",
  "rightly",
  "rightly",
  "rightly",
  "denied",
  "misled",
  "strange",
  "elsewhere"
]
const conflicts: ReadonlyArray<OnConflict> = ["supersede", "join", "reject"]

/** Reads the numbers of a script one after another out of one. */
const reading = (number: number) => {
  let left = number
  const below = (limit: number): number => {
    const drawn = left % limit
    left = Math.floor(left / limit)
    return drawn
  }
  return { below, pick: <A>(values: ReadonlyArray<A>): A => values[below(values.length)]! }
}

export const settingOf = (number: number): Setting => {
  const { below, pick } = reading(number)
  return {
    policy: pick<RedemptionPolicy>(["strict", "retry-once"]),
    rotation: pick(rotations),
    calm: below(4) === 3,
    both: below(4) === 3,
    stale: below(4) !== 3,
    race: below(2) === 1,
    lifetime: pick([5000, 60_000])
  }
}

export const stepOf = (number: number): Step => {
  const { below, pick } = reading(number)
  const kind = pick(kinds)
  const step: Step = {
    do: kind,
    which: 0,
    replica: 0,
    owner: 0,
    fault: "none",
    how: "plain",
    back: "rightly",
    conflict: "supersede",
    millis: 0,
    arrives: false,
    lost: "request"
  }
  if (kind === "go") return { ...step, which: below(8), fault: faultOf(below(16)) }
  if (kind === "rush") return { ...step, which: below(8) }
  if (kind === "wait") return { ...step, millis: pick(waits) }
  if (kind === "provider fails") {
    return { ...step, lost: pick<Step["lost"]>(["request", "answer"]), fault: pick<Fault>(["before", "after"]) }
  }
  const replica = below(2) as 0 | 1
  const owner = below(5) === 4 ? 1 : 0
  switch (kind) {
    case "ask":
      return { ...step, replica, owner, how: pick(hows) }
    case "come back":
      return { ...step, replica, which: below(4), back: pick(backs) }
    case "start":
      return { ...step, replica, owner, conflict: pick(conflicts) }
    case "die":
      return { ...step, replica, arrives: below(2) === 1 }
    default:
      return { ...step, replica, owner }
  }
}

const faultOf = (drawn: number): Fault => drawn === 14 ? "before" : drawn === 15 ? "after" : "none"

/** A step as a person reads it. */
export const told = (step: Step): string => {
  const of = `${["ada of a", "ada of b"][step.owner]} at ${["first", "second"][step.replica]}`
  switch (step.do) {
    case "go":
      return `go ${step.which}${step.fault === "none" ? "" : `, fails ${step.fault} it happens`}`
    case "rush":
      return `rush ${step.which}`
    case "wait":
      return `wait ${step.millis} ms`
    case "ask":
      return `ask ${step.how}, ${of}`
    case "start":
      return `start ${step.conflict}, ${of}`
    case "come back":
      return `come back ${step.back} to flow ${step.which}, ${of}`
    case "die":
      return `die ${["first", "second"][step.replica]}${step.arrives ? ", what it sent arrives" : ""}`
    case "provider fails":
      return `the next ${step.lost} fails ${step.fault} it happens`
    default:
      return `${step.do}, ${of}`
  }
}
