import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    name: "server",
    isolate: false,
    include: ["test/**/*.test.ts"],
    globalSetup: ["@valetkey/testing/CanarySetup", "@valetkey/testing/PostgresSetup"],
    setupFiles: ["@valetkey/testing/OutputSetup"],
    testTimeout: 60_000,
    hookTimeout: 60_000
  }
})
