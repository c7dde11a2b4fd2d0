import { assert, describe, it } from "@effect/vitest"
import { errorCodes } from "@valetkey/api/ErrorStatus"
import { CliCode } from "../src/CliFailure.ts"
import { exitCode, exitCodeOf } from "../src/ExitCode.ts"
import { parseSeconds, slugOf } from "../src/Words.ts"

describe("exit codes", () => {
  it("I25 are documented for every code of the server and of the command", () => {
    for (const code of [...errorCodes, ...CliCode.literals]) {
      assert.include([1, 2, 3, 4, 5, 130], exitCode[code], code)
    }
  })

  it("are stable", () => {
    assert.strictEqual(exitCode.usage, 2)
    assert.strictEqual(exitCode.server_unreachable, 3)
    assert.strictEqual(exitCode.reauthorization_required, 4)
    assert.strictEqual(exitCode.flow_expired, 5)
    assert.strictEqual(exitCode.interrupted, 130)
    assert.strictEqual(exitCodeOf("made_up_by_a_newer_server"), 1)
  })
})

describe("names", () => {
  it("DAEM-16 come from host and path in letters that a name may have", () => {
    const names = {
      "https://mcp.example.com/mcp": "mcp.example.com-mcp",
      "https://www.Example.com/": "example.com",
      "http://127.0.0.1:8080/a/b": "127.0.0.1-8080-a-b",
      "https://x.example/%2e%2e/..%2f..%2fetc": "x.example-..-2f..-2fetc",
      [`https://x.example/${"a".repeat(100)}`]: `x.example-${"a".repeat(53)}`
    }
    for (const [url, name] of Object.entries(names)) {
      assert.strictEqual(slugOf(new URL(url)), name)
      assert.match(name, /^[a-z0-9][a-z0-9._-]{0,62}$/)
    }
  })
})

describe("durations", () => {
  it("are a number with a unit", () => {
    assert.deepStrictEqual(["90", "60s", "5m", "1h", "0"].map(parseSeconds), [90, 60, 300, 3600, 0])
    assert.deepStrictEqual(["", "s", "-1s", "1d", "1 m", "1e3"].map(parseSeconds), Array(6).fill(undefined))
  })
})
