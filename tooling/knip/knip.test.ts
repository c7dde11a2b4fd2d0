import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { cpSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const root = join(import.meta.dirname, "../..")

interface Issue {
  readonly name: string
}

interface Report {
  readonly issues: ReadonlyArray<{
    readonly file: string
    readonly exports?: ReadonlyArray<Issue>
    readonly dependencies?: ReadonlyArray<Issue>
    readonly files?: ReadonlyArray<Issue>
  }>
}

// Lints a small tree with the configuration of the repository.
const unused = (fixture: string): ReadonlyArray<string> => {
  const folder = mkdtempSync(join(tmpdir(), "knip-"))
  try {
    cpSync(join(import.meta.dirname, "fixtures", fixture), folder, { recursive: true })
    cpSync(join(root, "knip.json"), join(folder, "knip.json"))
    const result = spawnSync(join(root, "node_modules/.bin/knip"), ["--no-config-hints", "--reporter", "json"], {
      cwd: folder,
      encoding: "utf8"
    })
    const report = JSON.parse(result.stdout) as Report
    return report.issues.flatMap((issue) => [
      ...(issue.files ?? []).map(() => `file ${issue.file}`),
      ...(issue.exports ?? []).map(({ name }) => `export ${name} of ${issue.file}`),
      ...(issue.dependencies ?? []).map(({ name }) => `dependency ${name} of ${issue.file}`)
    ]).sort()
  } finally {
    rmSync(folder, { recursive: true })
  }
}

describe("knip", () => {
  it("reports an unused file, export and dependency", () => {
    assert.deepStrictEqual(unused("unused"), [
      "dependency jose of packages/domain/package.json",
      "export forgotten of packages/domain/src/internal/edges.ts",
      "file packages/domain/src/internal/Orphan.ts"
    ])
  })
})
