import { assert, describe, it } from "@effect/vitest"
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { check } from "./Rule.ts"
import { rules } from "./Rules.ts"
import { readWorkspace } from "./Workspace.ts"

const fixtures = join(import.meta.dirname, "fixtures")
const violationsIn = (root: string) => check(rules, readWorkspace(root))

// How many places each fixture breaks its rule in.
const expected: Readonly<Record<string, number>> = {
  "declared-imports": 3,
  "dependency-edges": 3,
  "domain-imports": 3,
  "egress-only": 8,
  "file-size": 1,
  "internal-imports": 2,
  "module-names": 1,
  "platform-barrel": 1,
  "runtime-cycles": 2,
  "source-folders": 1,
  "testing-is-dev-only": 2
}

// Rows of the catalogue that a rule covers by itself.
const rows: Readonly<Record<string, string>> = { "domain-imports": "S1.42 " }

describe("architecture", () => {
  for (const rule of rules) {
    it(`${rows[rule.name] ?? ""}${rule.name} reports its fixture and nothing else does`, () => {
      const violations = violationsIn(join(fixtures, rule.name))
      assert.deepStrictEqual([...new Set(violations.map((one) => one.rule))], [rule.name], JSON.stringify(violations))
      assert.strictEqual(violations.length, expected[rule.name], JSON.stringify(violations, null, 2))
    })
  }

  it("every fixture belongs to a rule", () => {
    assert.deepStrictEqual(readdirSync(fixtures).sort(), ["clean", ...rules.map((rule) => rule.name)].sort())
  })

  it("a clean tree passes", () => {
    assert.deepStrictEqual(violationsIn(join(fixtures, "clean")), [])
  })

  it("the repository passes", () => {
    assert.deepStrictEqual(violationsIn(join(import.meta.dirname, "../..")), [])
  })
})
