import type { Fault } from "./History.ts"
import { aftermath } from "./Timing.ts"

/** Looks up whether something was done to a replica within a time. */
export interface Faults {
  /** Faults that touch a replica, or everybody, between two instants, widened by what they need to die down. */
  during(replica: number | undefined, from: number, to: number): ReadonlyArray<Fault>
  any(replica: number | undefined, from: number, to: number, what?: (fault: Fault) => boolean): boolean
}

/** Indexes faults by the seconds that they touch. */
export const index = (faults: ReadonlyArray<Fault>): Faults => {
  const slots = new Map<number, Array<Fault>>()
  for (const fault of faults) {
    for (let slot = slotOf(fault.from); slot <= slotOf(fault.to + aftermath); slot++) {
      const held = slots.get(slot) ?? []
      held.push(fault)
      slots.set(slot, held)
    }
  }
  const during: Faults["during"] = (replica, from, to) => {
    const found = new Set<Fault>()
    for (let slot = slotOf(from); slot <= slotOf(to); slot++) {
      for (const fault of slots.get(slot) ?? []) {
        const touches = fault.replica === undefined || replica === undefined || fault.replica === replica
        if (touches && fault.from <= to && fault.to + aftermath >= from) found.add(fault)
      }
    }
    return [...found]
  }
  return { during, any: (replica, from, to, what = () => true) => during(replica, from, to).some(what) }
}

const slotOf = (at: number): number => Math.floor(at / 1000)
