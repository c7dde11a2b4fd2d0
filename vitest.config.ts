import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    // By default one core is left idle, which waits with the tests for processes that they start. Each project says `isolate:
    // false`: loading every module anew for every file took longer than the tests.
    maxWorkers: 2,
    projects: ["packages/*", "apps/*", "tooling"]
  }
})
