import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Valetkey from "./support/Valetkey.ts"

/** A section of the help text, line by line. */
const section = (help: string, name: string): ReadonlyArray<string> => {
  const lines = help.split("\n")
  const from = lines.indexOf(name)
  if (from === -1) return []
  const end = lines.findIndex((line, index) => index > from && /^[A-Z ]+$/.test(line))
  return lines.slice(from + 1, end === -1 ? undefined : end).filter((line) => line.trim() !== "")
}

/** Every command that does something, with its help. */
const leaves = (valetkey: Valetkey.Installation, path: ReadonlyArray<string>): Effect.Effect<
  ReadonlyArray<readonly [path: string, help: string]>
> =>
  Effect.gen(function*() {
    const { document } = yield* valetkey.json([...path, "--help"])
    const help = String(document["help"])
    const names = section(help, "SUBCOMMANDS").flatMap((line) => /^ {2}([a-z-]+)/.exec(line)?.[1] ?? [])
    if (names.length === 0) return [[path.join(" "), help]]
    const below = yield* Effect.forEach(names, (name) => leaves(valetkey, [...path, name]), { concurrency: 2 })
    return below.flat()
  })

describe("--help", () => {
  it.live("shows an example of every command, which begins with that command", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const all = yield* leaves(valetkey, [])
      assert.isAbove(all.length, 30)
      for (const [path, help] of all) {
        const examples = section(help, "EXAMPLES").filter((line) => !line.trim().startsWith("#"))
        assert.isAbove(examples.length, 0, path)
        for (const line of examples) assert.include(line, `valetkey ${path}`)
        assert.isAbove(section(help, "DESCRIPTION").length, 0, path)
      }
    })))

  it.live("prints completions for every shell that it names, with the commands in them", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      for (const shell of ["bash", "zsh", "fish"]) {
        const { code, stdout } = yield* valetkey.run(["--completions", shell])
        assert.strictEqual(code, 0)
        for (const name of ["connect", "callback", "service", "api-keys", "mcp", "git-credential"]) {
          assert.include(stdout, name, shell)
        }
      }
    })))
})
