import { assert, describe, it } from "@effect/vitest"
import { variable as postgres } from "@valetkey/testing/EmbeddedPostgres"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { rmSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { variable as artefacts } from "../src/internal/artefacts.ts"

const vitest = join(fileURLToPath(import.meta.resolve("vitest")), "../../vitest.mjs")

/** Runs the fixture suite, which passes, and tells how the run around it ended. */
const run = (leak: string) =>
  Effect.promise(() =>
    new Promise<{ readonly code: number | null; readonly output: string }>((resolve) => {
      const inherited = Object.entries(process.env).filter(([name]) => !/^VITEST|^TEST$/.test(name))
      const child = spawn(process.execPath, [vitest, "run", "--root", join(import.meta.dirname, "fixtures/leak")], {
        env: { ...Object.fromEntries(inherited), LEAK: leak, [artefacts]: undefined, [postgres]: undefined },
        stdio: ["ignore", "pipe", "pipe"]
      })
      let output = ""
      for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => output += String(chunk))
      child.once("exit", (code) => resolve({ code, output }))
    })
  )

const kept = (output: string): string | undefined => /kept in ([^)]+)\)/.exec(output)?.[1]

describe("CanarySetup", () => {
  for (const leak of ["console", "stderr", "log", "span", "sqlite", "postgres"]) {
    it.live(`I11 I12 fails a run whose tests pass but leak into ${leak}`, () =>
      Effect.gen(function*() {
        const { code, output } = yield* run(leak)
        assert.notStrictEqual(code, 0, output)
        assert.include(output, "1 passed")
        assert.match(output, /access_token \(\w+\) in /)
        const directory = kept(output)
        assert.isString(directory)
        rmSync(directory ?? "", { recursive: true })
      }), 60_000)
  }

  it.live("I12 passes a run that leaks nothing", () =>
    Effect.gen(function*() {
      const { code, output } = yield* run("none")
      assert.strictEqual(code, 0, output)
    }), 60_000)
})
