import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    name: "testing",
    isolate: false,
    include: ["test/**/*.test.ts"],
    globalSetup: ["./src/CanarySetup.ts", "./src/PostgresSetup.ts"],
    testTimeout: 30_000,
    hookTimeout: 60_000
  }
})
