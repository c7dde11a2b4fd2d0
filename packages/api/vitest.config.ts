import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    name: "api",
    isolate: false,
    include: ["test/**/*.test.ts"],
    globalSetup: ["@valetkey/testing/CanarySetup", "@valetkey/testing/PostgresSetup"],
    testTimeout: 30_000,
    hookTimeout: 60_000
  }
})
