import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as StubServer from "./support/StubServer.ts"
import * as Valetkey from "./support/Valetkey.ts"

const token: StubServer.Answer = () => ({
  body: { accessToken: "stub-token", tokenType: "Bearer", scopes: ["read"], generation: 1 }
})

const installed = Effect.gen(function*() {
  const valetkey = yield* Valetkey.make
  yield* StubServer.make(valetkey, token)
  return valetkey
})

const node = process.execPath

describe("exec", () => {
  it.live("DAEM-07 puts the token in the child's environment alone and passes on its output and exit code", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* installed
      const script =
        `process.stdout.write(JSON.stringify({ argv: process.argv.slice(1), env: process.env })); process.exit(7)`
      const ended = yield* valetkey.run(["exec", "x", "--env", "MY_TOKEN", "--", node, "-e", script, "a b", "--json"], {
        VALETKEY_TOKEN: "outer",
        VALETKEY_KEYS: "keys"
      })
      assert.strictEqual(ended.code, 7, ended.stderr)
      const child = JSON.parse(ended.stdout) as { argv: Array<string>; env: Record<string, string> }
      assert.deepStrictEqual(child.argv, ["a b", "--json"])
      assert.strictEqual(child.env["MY_TOKEN"], "stub-token")
      assert.notProperty(child.env, "VALETKEY_TOKEN")
      assert.notProperty(child.env, "VALETKEY_KEYS")
      assert.notInclude(JSON.stringify(child.argv), "stub-token")
    })))

  it.live("forwards signals and gives the child's way of ending", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* installed
      const polite = `process.on("SIGTERM", () => process.exit(42)); setInterval(() => {}, 1000); console.log("up")`
      const running = yield* valetkey.start(["exec", "x", "--", node, "-e", polite])
      yield* running.saw("stdout", /up/)
      running.signal("SIGTERM")
      assert.strictEqual((yield* running.ended).code, 42)

      const rude = yield* valetkey.start([
        "exec",
        "x",
        "--",
        node,
        "-e",
        `setInterval(() => {}, 1000); console.log("up")`
      ])
      yield* rude.saw("stdout", /up/)
      rude.signal("SIGINT")
      assert.strictEqual((yield* rude.ended).code, 130)
    })))

  it.live("says that the command does not exist and exits with 1", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* installed
      const ended = yield* valetkey.run(["exec", "x", "--", "no-such-command-anywhere"])
      assert.strictEqual(ended.code, 1)
      assert.include(ended.stderr, "was not found")
    })))
})
