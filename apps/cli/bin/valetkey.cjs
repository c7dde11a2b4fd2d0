#!/usr/bin/env node
// Runs the bundle; in a checkout that was not built, the sources.
const { existsSync } = require("node:fs")
const { join } = require("node:path")

const bundle = join(__dirname, "..", "dist", "bundle", "valetkey.cjs")
const [oldest, major, minor] = /(\d+)\.(\d+)/.exec(require("../package.json").engines.node)
const [ours, itsMinor] = process.versions.node.split(".")

if (existsSync(bundle)) require(bundle)
// An older Node.js cannot read the sources, and so not their own sentence about it.
else if (Number(ours) < Number(major) || ours === major && Number(itsMinor) < Number(minor)) {
  console.error(
    `valetkey: Node.js ${oldest} or newer is needed to run the sources; this is ${process.versions.node}. `
      + "The checkout brings one along: npx -y pnpm@12 exec node apps/cli/bin/valetkey.cjs"
  )
  process.exitCode = 1
} else import("../src/main.ts")
