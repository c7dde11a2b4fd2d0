import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    // Each project says `isolate: false`: loading every module anew for every file took longer than the tests.
    projects: ["packages/*", "apps/*", "tooling"]
  }
})
