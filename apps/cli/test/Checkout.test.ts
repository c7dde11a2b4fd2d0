import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

/** Runs the launcher of a checkout that nobody built on a Node.js of this version, which reads no TypeScript when it is old. */
const launched = (version: string) => {
  const directory = mkdtempSync(join(tmpdir(), "vk-checkout-"))
  try {
    const root = fileURLToPath(new URL("..", import.meta.url))
    for (const name of ["bin", "src"]) mkdirSync(join(directory, name))
    for (const name of ["bin/valetkey.cjs", "package.json"]) copyFileSync(join(root, name), join(directory, name))
    writeFileSync(join(directory, "src/main.ts"), "const text: string = \"from the sources\"\nconsole.log(text)\n")
    const versions = join(directory, "versions.cjs")
    writeFileSync(
      versions,
      `Object.defineProperty(process, "versions", { value: { ...process.versions, node: "${version}" } })`
    )
    const reads = Number(version.split(".")[0]) > 22
    const flags = reads ? [] : ["--no-experimental-strip-types"]
    const { status, stderr, stdout } = spawnSync(
      process.execPath,
      [...flags, "--require", versions, join(directory, "bin/valetkey.cjs")],
      { encoding: "utf8" }
    )
    return { status, stderr, stdout }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

describe("the command of a checkout", () => {
  it("says which Node.js it needs where that is too old to read the sources", () => {
    for (const version of ["20.20.2", "22.18.0", "9.11.2"]) {
      const { status, stderr, stdout } = launched(version)
      assert.deepStrictEqual([status, stdout], [1, ""])
      assert.match(
        stderr,
        /^valetkey: Node\.js 22\.19 or newer is needed .+ this is [\d.]+\. .+pnpm@12 exec node .+\n$/
      )
    }
  })

  it("runs the sources where it can", () => {
    assert.deepInclude(launched("24.0.0"), { status: 0, stdout: "from the sources\n" })
  })
})
