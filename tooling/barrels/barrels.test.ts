import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { barrels, isStale } from "./Barrel.ts"

const fixture = (name: string) => join(import.meta.dirname, "fixtures", name)
const run = (...args: ReadonlyArray<string>) =>
  spawnSync(process.execPath, [join(import.meta.dirname, "main.ts"), ...args], { encoding: "utf8" })

describe("barrels", () => {
  it("finds a barrel that names a missing module and misses a present one", () => {
    assert.deepStrictEqual(barrels(fixture("stale")).filter(isStale).map((barrel) => barrel.path), [
      "packages/domain/src/index.ts"
    ])
    assert.strictEqual(run("--check", fixture("stale")).status, 1)
  })

  it("lists public modules in the order of the formatter, without internal ones", () => {
    const [barrel] = barrels(fixture("fresh"))
    assert.strictEqual(
      barrel?.expected,
      ["Flow", "Flows", "FlowStore", "Tenant"].map((name) => `export * as ${name} from "./${name}.ts"\n`).join("")
    )
    assert.strictEqual(run("--check", fixture("fresh")).status, 0)
  })
})
