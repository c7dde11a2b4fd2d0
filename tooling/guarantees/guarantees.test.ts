import { assert, describe, it } from "@effect/vitest"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"

const root = join(import.meta.dirname, "../..")
const rows = [
  ...readFileSync(join(root, "docs/guarantees.md"), "utf8").matchAll(/^\| \*\*(I\d+′?)\*\* \|.*\| (.*) \|$/gm)
]
  .map(([, id, proof]) => ({ id: id ?? "", proof: proof ?? "" }))

describe("guarantees", () => {
  it("every invariant has a line", () => {
    const numbers = Array.from({ length: 26 }, (_, index) => `I${index + 1}`)
    assert.deepStrictEqual(rows.map((row) => row.id).filter((id) => !id.endsWith("′")), numbers)
  })

  it("every line names tests that name it, or says that none does", () => {
    for (const { id, proof } of rows) {
      const files = [...proof.matchAll(/`([\w./-]+\.ts)`/g)].map((match) => match[1] ?? "")
      assert.isTrue(files.length > 0 || proof.includes("not yet proven"), id)
      for (const file of files) {
        assert.isTrue(existsSync(join(root, file)), `${id}: ${file}`)
        assert.match(readFileSync(join(root, file), "utf8"), new RegExp(`\\b${id}(?![\\d′])`), `${id}: ${file}`)
      }
    }
  })
})
