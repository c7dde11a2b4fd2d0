import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    name: "tooling",
    include: ["**/*.test.ts"],
    exclude: ["**/fixtures/**", "**/node_modules/**"],
    globalSetup: ["@valetkey/testing/CanarySetup", "@valetkey/testing/PostgresSetup", "./proofs/bundle.ts"],
    setupFiles: ["@valetkey/testing/OutputSetup"],
    testTimeout: 60_000
  }
})
