import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { Section } from "../bench/Table.ts"

const root = join(import.meta.dirname, "../..")

/** Runs the proof with a small crowd and gives its figures; whether times keep their limits is not judged here. */
const figures = Effect.promise(async (): Promise<ReadonlyArray<Section>> => {
  const file = `flows-${process.pid}.json`
  const options = { few: 100, many: 3000, rounds: 1, idle: 1, calls: 10, figures: file }
  const child = spawn(process.execPath, [
    "--expose-gc",
    join(root, "tooling/bench/proof.ts"),
    ...Object.entries(options).map(([name, value]) => `--${name}=${value}`)
  ], { stdio: ["ignore", "ignore", "inherit"] })
  const code = await new Promise<number | null>((resolve) => child.once("exit", resolve))
  // One that died left no figures; 1 is a time over its limit.
  if (code !== 0 && code !== 1) throw new Error(`the proof ended with ${code}`)
  return JSON.parse(readFileSync(join(root, ".artifacts", file), "utf8"))
})

describe("pending flows (npx -y pnpm@12 proof:flows with a million)", () => {
  it.live(
    "cost a waiter at most 500 bytes and all of them two timers, and a lost signal is found for exactly its own",
    () =>
      Effect.gen(function*() {
        const sections = yield* figures
        const judged = sections.filter(({ title }) => /^(heap of a waiter|timers of all waiters)/.test(title))
        assert.strictEqual(judged.length, 4)
        for (const { figures, title } of judged) assert.isAtMost(figures[1]!.ratio, 1, title)
      }),
    300_000
  )
})
