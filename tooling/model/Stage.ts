import * as Random from "../chaos/Random.ts"
import type { Process } from "./Process.ts"

/** What the one who answers a call makes of it: what was asked, nothing at all, or what was asked without a word of it. */
export type Fault = "none" | "before" | "after"

/** Something that is on its way: a statement to the store, a request to the provider, an answer, a signal. It happens when it is its turn. */
export interface Turn {
  readonly name: string
  /** Whom it belongs to. What belongs to nobody happens whoever dies. */
  process: Process | undefined
  happen(fault: Fault): void
  /** What becomes of it when nobody waits any more; absent where nothing does. */
  readonly alone?: (() => void) | undefined
}

interface Timer {
  readonly at: number
  readonly process: Process
  fire(): void
}

/** Where one history takes place: the time, what is on its way, and who plays. Nothing here happens by itself. */
export class Stage {
  /** Milliseconds. */
  now = 1_800_000_000_000
  turns: Array<Turn> = []
  timers: Array<Timer> = []
  /** The last turn. */
  last = ""
  /** What jitters pauses: the same in every history. */
  readonly chance = Random.make(1)
  /** What took place, by what it is called. */
  readonly seen = new Map<string, number>()
  #count = 0

  count(what: string): void {
    this.seen.set(what, (this.seen.get(what) ?? 0) + 1)
  }

  /** A number that this history has not used. */
  next(): number {
    return ++this.#count
  }

  /** What may happen now: a process that is stopped takes part in nothing. */
  get open(): Array<Turn> {
    for (const { process } of this.turns) {
      if (process?.stopped === true) return this.turns.filter(({ process }) => process?.stopped !== true)
    }
    return this.turns
  }

  take(turn: Turn, fault: Fault): void {
    this.forget(turn)
    this.last = turn.name
    if (fault !== "none") this.count(`fault: ${turn.name} ${fault}`)
    turn.happen(fault)
    turn.process?.drain()
  }

  forget(turn: Turn): void {
    const at = this.turns.indexOf(turn)
    if (at >= 0) this.turns.splice(at, 1)
  }

  /** Leaves what a process had on its way to itself: each of it arrives or is lost. */
  abandon(process: Process, arrives: boolean): void {
    this.timers = this.timers.filter((timer) => timer.process !== process)
    const own = this.turns.filter((turn) => turn.process === process)
    this.turns = this.turns.filter((turn) => turn.process !== process)
    for (const turn of own) {
      if (arrives && turn.alone !== undefined) this.leave(turn)
    }
  }

  /** Lets a turn happen without anybody who waits for it. */
  leave({ alone, name }: Turn): void {
    if (alone !== undefined) this.turns.push({ name: `${name} alone`, process: undefined, happen: alone })
  }

  /** Calls back after a time; gives how to take that back. */
  after(process: Process, millis: number, fire: () => void): () => void {
    const timer: Timer = { at: this.now + Math.ceil(millis), process, fire }
    this.timers.push(timer)
    return () => {
      const at = this.timers.indexOf(timer)
      if (at >= 0) this.timers.splice(at, 1)
    }
  }

  /** Lets time pass. Whose time has come goes on, in that order; whoever is stopped is late. */
  pass(millis: number): void {
    const end = this.now + millis
    for (let timer = this.due(end); timer !== undefined; timer = this.due(end)) {
      this.now = Math.max(this.now, timer.at)
      this.timers.splice(this.timers.indexOf(timer), 1)
      this.last = "time"
      timer.fire()
      timer.process.drain()
    }
    this.now = end
  }

  /** How long it takes until somebody's time has come. */
  get wait(): number | undefined {
    const timer = this.due(Infinity)
    return timer && Math.max(0, timer.at - this.now)
  }

  private due(end: number): Timer | undefined {
    let first: Timer | undefined
    for (const timer of this.timers) {
      if (!timer.process.stopped && timer.at <= end && (first === undefined || timer.at < first.at)) first = timer
    }
    return first
  }
}
