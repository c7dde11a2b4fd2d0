import { assert, describe, it } from "@effect/vitest"
import fc from "fast-check"
import * as Readers from "./Readers.ts"

/** How many inputs in all; `proof:fuzz` gives a million. */
const inputs = Number(process.env["VALETKEY_PROOF_INPUTS"] ?? 18_000)
/** No reading may take longer, in milliseconds. */
const longest = 5
/**
 * How often a slow reading is repeated: once in a while the collector or another process has the core, but an input that
 * takes long takes long every time.
 */
const repeats = 200

const quickest = async (read: () => Promise<unknown>): Promise<number> => {
  let best = Number.POSITIVE_INFINITY
  for (let again = 0; best > longest && again <= repeats; again++) {
    const begun = performance.now()
    await read()
    best = Math.min(best, performance.now() - begun)
  }
  return best
}

describe("readers of what others send", () => {
  for (const { inputs: arbitrary, name, read } of Readers.all) {
    it(`ends with a value or a declared error, in time: ${name}`, { timeout: 3_600_000 }, async () => {
      const runs = Math.ceil(inputs / Readers.all.length)
      let count = 0
      await fc.assert(
        fc.asyncProperty(arbitrary, async (input) => {
          count++
          assert.isAtMost(await quickest(() => read(input)), longest, "milliseconds")
        }),
        { numRuns: runs }
      )
      assert.strictEqual(count, runs)
    })
  }
})
