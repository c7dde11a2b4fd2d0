import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Logs from "../src/Logs.ts"
import { scrub } from "../src/Logs.ts"

/** What the log writes of an entry with this text in its message, a value, a name and a cause. */
const written = (logFormat: "logfmt" | "json", text: string) =>
  Effect.gen(function*() {
    const lines: Array<string> = []
    const { write } = process.stderr
    process.stderr.write = (line: string | Uint8Array) => lines.push(String(line)) > 0
    yield* Effect.logError(text, { value: text }, new Error(text)).pipe(
      Effect.annotateLogs(text, text),
      Effect.provide(Logs.layer({ logFormat, logLevel: "Trace" })),
      Effect.ensuring(Effect.sync(() => process.stderr.write = write))
    )
    return lines.join("")
  })

describe("the log", () => {
  it.effect("LEAK-09 writes one line an entry, whatever is in it", () =>
    Effect.gen(function*() {
      const text = "x\nlevel=FATAL\r\u001b[2J\u0000\u0085\u009b1m\u2028\u2029\u007f\"} y"
      for (const format of ["logfmt", "json"] as const) {
        const output = yield* written(format, text)
        assert.match(output, /^[^\n]+\n$/)
        assert.notMatch(output.slice(0, -1), /[\p{Cc}\u2028\u2029]/u)
        assert.include(output, "FATAL")
        if (format === "json") assert.isObject(JSON.parse(output))
      }
    }))

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
