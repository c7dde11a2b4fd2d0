// Reads every committed file for words that should not be there: `node tooling/wording/main.ts`.
import { execFileSync } from "node:child_process"
import { existsSync, readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import { wording } from "./Wording.ts"

const root = join(import.meta.dirname, "../..")
const paths = execFileSync("git", ["-c", "safe.directory=*", "ls-files", "-z"], {
  cwd: root,
  encoding: "utf8",
  maxBuffer: 1 << 26
})
  .split("\0")
  .filter((path) => path !== "" && !/^tooling\/\w+\/fixtures\//.test(path) && existsSync(join(root, path)))
  .filter((path) => statSync(join(root, path)).size < 4_000_000)

const findings = paths.flatMap((path) => wording({ path, content: readFileSync(join(root, path), "utf8") }))
for (const { check, message, where } of findings) console.error(`${where}  ${check}: ${message}`)
console.log(`${paths.length} files, ${findings.length} findings`)
process.exitCode = findings.length === 0 ? 0 : 1
