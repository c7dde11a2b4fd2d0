// Checks the architecture rules: `node tooling/architecture/main.ts [root]`.
import { join, resolve } from "node:path"
import { check } from "./Rule.ts"
import { rules } from "./Rules.ts"
import { readWorkspace } from "./Workspace.ts"

const root = resolve(process.argv[2] ?? join(import.meta.dirname, "../.."))
const workspace = readWorkspace(root)
const violations = check(rules, workspace)
for (const { message, rule, where } of violations) console.error(`${where}  ${rule}: ${message}`)

const files = workspace.packages.reduce((sum, one) => sum + one.modules.length, 0)
console.log(
  `${rules.length} rules, ${workspace.packages.length} packages, ${files} files, ${violations.length} violations`
)
process.exitCode = violations.length === 0 ? 0 : 1
