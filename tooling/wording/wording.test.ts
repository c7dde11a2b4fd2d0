import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { wording } from "./Wording.ts"

const found = (path: string) =>
  wording({ path, content: readFileSync(join(import.meta.dirname, "fixtures", path), "utf8") })
    .map((finding) => `${finding.check} ${finding.where}`)

describe("wording", () => {
  it("S2.50 accepts lines that describe a secret", () => {
    assert.deepStrictEqual([...found("schema-lines.yaml"), ...found("schema-lines.ts")], [])
  })

  it("S2.50 LEAK-15 catches literal secrets", () => {
    assert.deepStrictEqual([...found("literals.yaml"), ...found("literals.ts")], [
      "secrets literals.yaml:2",
      "secrets literals.yaml:3",
      "secrets literals.ts:1",
      "secrets literals.ts:2",
      "secrets literals.ts:3",
      "secrets literals.ts:4"
    ])
  })

  it("S2.51 catches comments that tell history and leaves strings alone", () => {
    assert.deepStrictEqual(found("history.ts"), [
      "history-words history.ts:1",
      "history-words history.ts:7",
      "history-words history.ts:10"
    ])
  })

  it("catches registry hosts and paths of one machine", () => {
    assert.deepStrictEqual(found("places.md"), [
      "registry-hosts places.md:1",
      "machine-paths places.md:1",
      "machine-paths places.md:2"
    ])
  })
})
