import { defineConfig } from "vitest/config"

export default defineConfig({ test: { name: "keyring", include: ["test/**/*.test.ts"] } })
