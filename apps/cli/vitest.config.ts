import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    name: "cli",
    isolate: false,
    include: ["test/**/*.test.ts"],
    globalSetup: ["@valetkey/testing/CanarySetup", "@valetkey/testing/PostgresSetup", "./test/support/bundle.ts"],
    setupFiles: ["@valetkey/testing/OutputSetup"],
    testTimeout: 60_000,
    hookTimeout: 60_000
  }
})
