import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    // Whole processes race the clock of a machine that other work may share; in CI a second try tells a slow one from a broken one.
    retry: process.env["CI"] === undefined ? 0 : 1,
    name: "tooling",
    include: ["**/*.test.ts"],
    exclude: ["**/fixtures/**", "**/node_modules/**"],
    globalSetup: ["@valetkey/testing/CanarySetup", "@valetkey/testing/PostgresSetup", "./proofs/bundle.ts"],
    setupFiles: ["@valetkey/testing/OutputSetup"],
    testTimeout: 60_000
  }
})
