import { assert, describe, it } from "@effect/vitest"
import { scrub } from "../src/Logs.ts"

describe("the log", () => {
  it("blanks what looks like a secret in a cause of somebody else", () => {
    const lines = {
      "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl refused": "token <redacted> refused",
      "sent Authorization: Bearer abcdef123456": "sent Authorization: Bearer <redacted>",
      "POST refresh_token=abcdef123456&x=1": "POST refresh_token=<redacted>&x=1",
      "{\"client_secret\":\"abcdef123456\"}": "{\"client_secret\":\"<redacted>\"}",
      "{\\\"code\\\":\\\"abcdef123456\\\"}": "{\\\"code\\\":\\\"<redacted>\\\"}",
      "connect postgres://u:hunter2@db.example/x": "connect postgres://u:<redacted>@db.example/x",
      "pushed with ghp_0123456789abcdef": "pushed with <redacted>",
      "flow 019a0000-0000-7000-8000-000000000000 completed": "flow 019a0000-0000-7000-8000-000000000000 completed"
    }
    for (const [line, blanked] of Object.entries(lines)) assert.strictEqual(scrub(line), blanked)
  })
})
