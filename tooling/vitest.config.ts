import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    name: "tooling",
    include: ["**/*.test.ts"],
    exclude: ["**/fixtures/**", "**/node_modules/**"],
    testTimeout: 60_000
  }
})
