import { defineConfig } from "vitest/config"

export default defineConfig({ test: { name: "callback-gateway", include: ["test/**/*.test.ts"] } })
