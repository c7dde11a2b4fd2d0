import { assert, describe, it } from "@effect/vitest"
import { breakages } from "./Breakage.ts"
import * as Coverage from "./Coverage.ts"
import * as Histories from "./Histories.ts"
import * as Script from "./Script.ts"
import { Theatre } from "./Theatre.ts"

const histories = Number(process.env["VALETKEY_HISTORIES"] ?? 2000)
const seed = Number(process.env["VALETKEY_SEED"] ?? Date.now() % 2 ** 31)

describe(`histories of two replicas (VALETKEY_SEED=${seed})`, () => {
  it(
    `I1 I2 I3 I4 I5 I6 I7 I8 I9 I10 I20 I21 I23 ${histories} histories of refreshes, rejections, disconnects, consents, deaths, pauses and faults`,
    () => {
      const { findings, histories: played, seconds } = Histories.run({ seed, more: (count) => count < histories })
      assert.deepStrictEqual(findings.map(Histories.told), [])
      assert.strictEqual(played, histories)
      console.log(`${Math.round(played / seconds)} histories per second of one core`)
    },
    300_000
  )

  it("contains every kind of event and every final state", () => {
    // Of one seed, so that nothing depends on luck.
    const { seen } = Histories.run({ seed: 1, more: (count) => count < 3000 })
    assert.deepStrictEqual(Coverage.missing(seen), [])
  }, 300_000)

  it("a seed gives the same history again, whatever was played before", () => {
    const theatre = new Theatre()
    const tell = (number: number) => {
      const { seen, violation } = Histories.play(theatre, Histories.scriptOf(number))
      return JSON.stringify([[...seen], violation])
    }
    const first = Array.from({ length: 50 }, (_, number) => tell(number))
    assert.deepStrictEqual(first.map((_, index) => tell(first.length - 1 - index)).reverse(), first)
  })
})

describe("builds that are broken on purpose", () => {
  for (const [name, { breakage, shows }] of Object.entries(breakages)) {
    it(`finds the build with ${name} and a small history that shows it`, () => {
      // Of one seed as well: which invariant is the first that breaks is a matter of luck.
      const ran = Histories.run({ seed: 5, breakage, more: (count) => count < 20_000 })
      const [finding] = ran.findings
      assert.isDefined(finding, `not found in ${ran.histories} histories`)
      assert.include<string>(shows, finding!.violation.invariant, Histories.told(finding!))
      assert.isAtMost(finding!.shrunk.steps.length, 12, Histories.told(finding!))
      // What is reported is what fails, and it fails for the breakage alone.
      const again = Histories.play(new Theatre(breakage), finding!.shrunk)
      assert.deepStrictEqual(again.violation, finding!.violation)
      assert.isUndefined(Histories.play(new Theatre(), finding!.shrunk).violation)
    }, 300_000)
  }
})

describe("scripts", () => {
  it("zero is the simplest step and the simplest setting", () => {
    assert.deepInclude(Script.stepOf(0), { do: "go", which: 0, fault: "none" })
    assert.deepInclude(Script.settingOf(0), { both: false, calm: false })
  })
})
