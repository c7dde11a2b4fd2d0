import { defineConfig } from "vitest/config"

export default defineConfig({ test: { name: "store-sqlite", include: ["test/**/*.test.ts"] } })
