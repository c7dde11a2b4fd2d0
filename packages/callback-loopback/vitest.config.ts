import { defineConfig } from "vitest/config"

export default defineConfig({ test: { name: "callback-loopback", include: ["test/**/*.test.ts"] } })
