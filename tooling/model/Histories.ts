import fc from "fast-check"
import * as Random from "../chaos/Random.ts"
import type { Violation } from "./Case.ts"
import { Play, type Played } from "./Play.ts"
import * as Script from "./Script.ts"
import { type Breakage, Theatre } from "./Theatre.ts"

/** A history that broke something, made as small as it goes. */
export interface Finding {
  /** Of this very history: a run with it begins with the same. */
  readonly seed: number
  readonly violation: Violation
  readonly shrunk: Script.Script
}

/** What a run came to. */
export interface Ran {
  readonly histories: number
  readonly findings: ReadonlyArray<Finding>
  /** What took place, how often. */
  readonly seen: ReadonlyMap<string, number>
  /** Of the processor, which is the time of one core. */
  readonly seconds: number
}

const length = { least: 3, most: 16 }

/** Plays histories one after another, each by a seed of its own, the next by the next number; stops at as many findings as are wanted. */
export const run = (options: {
  readonly seed: number
  /** Whether there is another one after so many. */
  readonly more: (histories: number) => boolean
  readonly breakage?: Breakage
  /** Default 1. */
  readonly findings?: number
}): Ran => {
  const theatre = new Theatre(options.breakage)
  const seen = new Map<string, number>()
  const findings: Array<Finding> = []
  const { stackTraceLimit } = Error
  // Errors are what half of the calls end with, and nobody reads where they were made.
  Error.stackTraceLimit = 0
  const begun = process.cpuUsage()
  let histories = 0
  try {
    while (options.more(histories) && findings.length < (options.findings ?? 1)) {
      const seed = options.seed + histories++
      const script = scriptOf(seed)
      const played = play(theatre, script)
      for (const [what, count] of played.seen) seen.set(what, (seen.get(what) ?? 0) + count)
      if (played.violation !== undefined) findings.push(shrink(theatre, seed, script, played.violation))
    }
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
  const { system, user } = process.cpuUsage(begun)
  return { histories, findings, seen, seconds: (user + system) / 1e6 }
}

/** The history of a seed. */
export const scriptOf = (seed: number): Script.Script => {
  const random = Random.make(seed)
  const setting = random.below(Script.range)
  const steps = Array.from(
    { length: length.least + random.below(length.most - length.least + 1) },
    () => random.below(Script.range)
  )
  return { setting, steps }
}

export const play = (theatre: Theatre, { setting, steps }: Script.Script): Played =>
  new Play(theatre, Script.settingOf(setting)).perform(steps.map(Script.stepOf))

/** Makes a history smaller for as long as it breaks the same. */
const shrink = (theatre: Theatre, seed: number, script: Script.Script, violation: Violation): Finding => {
  const number = fc.nat({ max: Script.range - 1 })
  // What fails is always smaller than what failed before.
  let smallest: Finding = { seed, violation, shrunk: script }
  fc.check(
    fc.property(number, fc.array(number, { maxLength: length.most }), (setting, steps) => {
      const found = play(theatre, { setting, steps }).violation
      if (found?.invariant !== violation.invariant) return true
      smallest = { seed, violation: found, shrunk: { setting, steps } }
      return false
    }),
    { examples: [[script.setting, [...script.steps]]], numRuns: 1 }
  )
  return smallest
}

/** A finding as a person reads it. */
export const told = ({ seed, shrunk, violation }: Finding): string =>
  [
    `seed ${seed}: ${violation.invariant}: ${violation.what}`,
    `  ${JSON.stringify(Script.settingOf(shrunk.setting))}`,
    ...shrunk.steps.map((step) => `  ${Script.told(Script.stepOf(step))}`)
  ].join("\n")
