import { assert, describe, it } from "@effect/vitest"
import fc from "fast-check"
import * as Readers from "./Readers.ts"

/** How many inputs in all; `proof:fuzz` gives a million. */
const inputs = Number(process.env["VALETKEY_PROOF_INPUTS"] ?? 18_000)
/** No reading may take longer, in milliseconds. */
const longest = 5
/** How often a slow reading is repeated, for the time of the processor alone: others may have had it meanwhile. */
const repeats = 20

const wall = async (read: () => Promise<unknown>): Promise<number> => {
  const begun = performance.now()
  await read()
  return performance.now() - begun
}

/** The processor's clock moves in steps of some milliseconds, so one reading alone says nothing. */
const busy = async (read: () => Promise<unknown>): Promise<number> => {
  const begun = process.threadCpuUsage()
  for (let again = 0; again < repeats; again++) await read()
  const { system, user } = process.threadCpuUsage(begun)
  return (system + user) / 1000 / repeats
}

describe("readers of what others send", () => {
  for (const { inputs: arbitrary, name, read } of Readers.all) {
    it(`ends with a value or a declared error, in time: ${name}`, { timeout: 3_600_000 }, async () => {
      const runs = Math.ceil(inputs / Readers.all.length)
      let count = 0
      await fc.assert(
        fc.asyncProperty(arbitrary, async (input) => {
          count++
          const reading = () => read(input)
          if (await wall(reading) > longest) assert.isAtMost(await busy(reading), longest, "milliseconds")
        }),
        { numRuns: runs }
      )
      assert.strictEqual(count, runs)
    })
  }
})
