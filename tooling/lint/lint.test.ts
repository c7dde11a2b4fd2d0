import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"

const root = join(import.meta.dirname, "../..")

// oxlint resolves overrides from the configuration's folder, so a fixture is linted in a folder that looks like the root.
const lint = (fixture: string, path: string): ReadonlyArray<string> => {
  const folder = mkdtempSync(join(tmpdir(), "lint-"))
  try {
    mkdirSync(join(folder, "tooling/lint"), { recursive: true })
    mkdirSync(join(folder, dirname(path)), { recursive: true })
    cpSync(join(root, ".oxlintrc.json"), join(folder, ".oxlintrc.json"))
    copyFileSync(join(root, "tooling/lint/plugin.ts"), join(folder, "tooling/lint/plugin.ts"))
    copyFileSync(join(import.meta.dirname, "fixtures", fixture), join(folder, path))
    const result = spawnSync(join(root, "node_modules/.bin/oxlint"), ["-f", "unix", path], {
      cwd: folder,
      encoding: "utf8"
    })
    return result.stdout.split("\n").flatMap((line) => {
      const found = /:(\d+):\d+: .*\[\w+\/(.*)\]$/.exec(line)
      return found === null ? [] : [`${found[2]} ${found[1]}`]
    }).sort()
  } finally {
    rmSync(folder, { recursive: true })
  }
}

// Whether the formatter has nothing to change in a text.
const isFormatted = (text: string): boolean =>
  spawnSync(join(root, "node_modules/.bin/dprint"), ["fmt", "--stdin", "packages/domain/src/Now.ts"], {
    cwd: root,
    encoding: "utf8",
    input: text
  }).stdout === text

describe("lint", () => {
  it("S2.53 S4.80 keeps imports in order and reports what is never used or never changed", () => {
    assert.isTrue(isFormatted(`import { a } from "./a.ts"\nimport { b } from "./b.ts"\n`))
    assert.isFalse(isFormatted(`import { b } from "./b.ts"\nimport { a } from "./a.ts"\n`))
    assert.isFalse(isFormatted(`import { a } from './a.ts';\n`))
    assert.deepStrictEqual(lint("unused.txt", "packages/domain/src/Unused.ts"), [
      "eslint(no-unused-vars) 1",
      "eslint(no-unused-vars) 4",
      "eslint(prefer-const) 4",
      "eslint(prefer-const) 5",
      "typescript(consistent-type-imports) 2"
    ])
  })

  it("reports skipped tests, sleeps and expect", () => {
    assert.deepStrictEqual(lint("tests.txt", "packages/domain/test/Flow.test.ts"), [
      "house(no-expect) 1",
      "house(no-skipped-tests) 5",
      "house(no-skipped-tests) 6",
      "house(no-test-sleep) 3",
      "house(no-test-sleep) 8"
    ])
  })

  it("reports ambient time and chance in the domain, and wrong code anywhere", () => {
    assert.deepStrictEqual(lint("domain.txt", "packages/domain/src/Now.ts"), [
      "eslint(eqeqeq) 5",
      "house(no-ambient-time) 1",
      "house(no-ambient-time) 2",
      "house(no-ambient-time) 3"
    ])
    assert.deepStrictEqual(lint("domain.txt", "apps/cli/src/Now.ts"), ["eslint(eqeqeq) 5"])
  })
})
