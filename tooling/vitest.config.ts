import { defineConfig } from "vitest/config"

// Takes minutes, and as many as chance wants: it has a command of its own.
const long = process.env["VALETKEY_PROOF_CHAOS"] === undefined
  ? ["chaos/BrokenBuilds.test.ts", "chaos/Chaos.test.ts"]
  : []

export default defineConfig({
  test: {
    name: "tooling",
    isolate: false,
    include: ["**/*.test.ts"],
    exclude: ["**/fixtures/**", "**/node_modules/**", ...long],
    globalSetup: ["@valetkey/testing/CanarySetup", "@valetkey/testing/PostgresSetup", "./proofs/bundle.ts"],
    setupFiles: ["@valetkey/testing/OutputSetup"],
    testTimeout: 60_000
  }
})
