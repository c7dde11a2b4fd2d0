import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { breakages, type Change } from "./Breakage.ts"

const root = join(import.meta.dirname, "../..")

describe("deliberately broken builds", () => {
  for (const [name, changes] of Object.entries<ReadonlyArray<Change>>(breakages)) {
    it(`${name} changes what is there`, () => {
      for (const { file, from } of changes) {
        assert.include(readFileSync(join(root, file), "utf8"), from)
      }
    })
  }
})
