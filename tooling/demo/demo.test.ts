import { assert, describe, it } from "@effect/vitest"
import * as Emitted from "@valetkey/testing/Emitted"
import { Effect, Ref } from "effect"
import { spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Step } from "./Telling.ts"
import * as Telling from "./Telling.ts"

interface Told {
  readonly ok: boolean
  readonly passed: number
  readonly failed: number
  readonly steps: ReadonlyArray<Step>
}

/** Runs the demo to its end; what it prints goes to the canary scan. */
const demo = (flags: ReadonlyArray<string>, onText: (text: string, stop: () => void) => void = () => {}) =>
  Effect.callback<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }>((resume) => {
    const child = spawn(process.execPath, [join(import.meta.dirname, "main.ts"), ...flags], {
      stdio: ["ignore", "pipe", "pipe"]
    })
    const output = { stdout: "", stderr: "" }
    for (const stream of ["stdout", "stderr"] as const) {
      child[stream].setEncoding("utf8").on("data", (text: string) => {
        output[stream] += text
        onText(output[stream], () => child.kill("SIGINT"))
      })
    }
    child.once("close", (code) => {
      Emitted.record("demo", `${output.stdout}\n${output.stderr}`)
      resume(Effect.succeed({ code, ...output }))
    })
    return Effect.sync(() => void child.kill("SIGTERM"))
  })

const story = [
  "Everything starts",
  "The authorization server and the MCP server behind it run",
  "Valetkey runs on its embedded store",
  "The person connects, once",
  "A program calls an MCP tool with the token",
  "The access token expires",
  "The next call gets a silently refreshed token",
  "The provider saw one redemption",
  "20 programs ask at the same moment after the next expiry",
  "The provider saw no refresh token twice",
  "The person disconnects",
  "The provider confirms the revocation",
  "Nobody gets a token any more",
  "Valetkey stops in order"
]

const checkSteps = (told: Told, expected: ReadonlyArray<string>): void => {
  assert.deepStrictEqual(told.steps.map(({ ok, step }) => [step, ok]), expected.map((step) => [step, true]))
  assert.deepStrictEqual([told.passed, told.failed], [expected.length, 0])
  assert.match(told.steps[3]?.ran ?? "", /^valetkey connect http:\/\/127\.0\.0\.1:\d+\/mcp --name notes$/)
  assert.match(told.steps[3]?.saw ?? "", /"Connected"; Connected to notes \(scopes: mcp:read\)/)
  assert.match(told.steps[7]?.saw ?? "", /^[0-9a-f]{16} became [0-9a-f]{16} with 1 refresh at the provider/)
  assert.match(told.steps[8]?.saw ?? "", /^20 answers, all of them [0-9a-f]{16}, with 1 refresh at the provider$/)
}

describe.concurrent("demo", () => {
  it.live("tells the whole story on real parts as exactly one JSON document", () =>
    Effect.gen(function*() {
      const { code, stderr, stdout } = yield* demo(["--json"])
      assert.strictEqual(code, 0, stderr + stdout)
      assert.match(stdout, /^\{.*\}\n$/)
      const told = JSON.parse(stdout) as Told
      assert.isTrue(told.ok)
      checkSteps(told, story)
    }), 60_000)

  it.live(
    "plays the person in a real Chromium, says what to type, stays until Ctrl-C and leaves nothing behind",
    () =>
      Effect.gen(function*() {
        const { code, stderr, stdout } = yield* demo(["--json", "--browser", "--stay"], (text, stop) => {
          if (text.includes("until Ctrl-C")) stop()
        })
        assert.strictEqual(code, 130, stderr + stdout)
        checkSteps(JSON.parse(stdout), story.slice(0, -1))
        assert.match(stderr, /connect http:\/\/127\.0\.0\.1:\d+\/mcp --name notes/)
        assert.isFalse(existsSync(/VALETKEY_HOME=(\S+)/.exec(stderr)?.[1] ?? tmpdir()))
      }),
    60_000
  )

  it.live("ends at the first step that is not as told", () =>
    Effect.gen(function*() {
      const reached = yield* Ref.make(false)
      const telling = Telling.make(() => {})
      const step = telling.step(
        "one",
        Telling.told(false, "it was otherwise", "valetkey list").pipe(
          Effect.as([undefined, { saw: "well" }] as const)
        )
      )
      const ended = yield* Effect.flip(Effect.andThen(step, Ref.set(reached, true)))
      assert.strictEqual(ended.message, "it was otherwise")
      assert.isFalse(yield* Ref.get(reached))
      assert.deepInclude(telling.steps[0], { step: "one", ran: "valetkey list", saw: "it was otherwise", ok: false })
      assert.strictEqual((yield* demo(["--no-such-flag"])).code, 2)
    }))
})
