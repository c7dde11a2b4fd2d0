#!/usr/bin/env node
// Runs the bundle; in a checkout that was not built, the sources.
const { existsSync } = require("node:fs")
const { join } = require("node:path")

const bundle = join(__dirname, "..", "dist", "bundle", "valetkey.cjs")
if (existsSync(bundle)) require(bundle)
else import("../src/main.ts")
