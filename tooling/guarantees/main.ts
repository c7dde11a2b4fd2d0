// Fills the last column of docs/guarantees.md from the titles of the tracked tests: `node tooling/guarantees/main.ts`.
import { execFileSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const root = join(import.meta.dirname, "../..")
const document = join(root, "docs/guarantees.md")

const tests = execFileSync("git", ["-c", "safe.directory=*", "ls-files"], { cwd: root, encoding: "utf8" }).split("\n")
  .filter((path) => path.endsWith(".test.ts") || path.startsWith("packages/testing/src/"))
  .filter((path) => !path.includes("/fixtures/") && !path.startsWith("tooling/guarantees/"))
  .sort()

const proofs = new Map<string, Set<string>>()
for (const path of tests) {
  const text = readFileSync(join(root, path), "utf8")
  for (const [, title] of text.matchAll(/(?:it|effect|live|describe|test|prop)\w*\(\s*["`]([^"`\n]+)/g)) {
    for (const [id] of (title ?? "").matchAll(/\bI\d{1,2}′?(?![\w.])/g)) {
      proofs.set(id, (proofs.get(id) ?? new Set()).add(path))
    }
  }
}

const unproven = "*not yet proven*"
const row = /^(\| \*\*(I\d+′?)\*\* \|.*\| )([^|]*) \|$/gm
const filled = readFileSync(document, "utf8").replaceAll(row, (_, promise: string, id: string, proof: string) => {
  // What a person wrote behind the files stays.
  const [, note] = /^[^;]*(; .*)?$/.exec(proof) ?? []
  const files = [...proofs.get(id) ?? []].map((path) => `\`${path}\``).join(", ")
  return `${promise}${files === "" ? unproven : files}${note ?? ""} |`
})
writeFileSync(document, filled)
console.log(`${proofs.size} ids are named by tests`)
