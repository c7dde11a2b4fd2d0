import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const root = join(import.meta.dirname, "../..")

describe("diagnostics", () => {
  it("the type checker reports Effect mistakes as errors", () => {
    // Inside the workshop, so that `effect` resolves as it does for every package.
    const folder = mkdtempSync(join(import.meta.dirname, "fixtures/run-"))
    try {
      copyFileSync(join(import.meta.dirname, "fixtures/mistakes.txt"), join(folder, "mistakes.ts"))
      writeFileSync(
        join(folder, "tsconfig.json"),
        JSON.stringify({
          extends: join(root, "tsconfig.base.json"),
          include: ["*.ts"],
          compilerOptions: { rootDir: ".", noEmit: true, tsBuildInfoFile: ".tsbuildinfo" }
        })
      )
      const result = spawnSync(join(root, "node_modules/.bin/tsc"), ["-p", folder], { cwd: root, encoding: "utf8" })
      for (const rule of ["floatingEffect", "missingReturnYieldStar", "outdatedApi"]) {
        assert.include(
          result.stdout,
          `effect(${rule})`,
          "run `npx -y pnpm@12 run prepare` when the checker is unpatched"
        )
      }
      assert.notStrictEqual(result.status, 0)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
