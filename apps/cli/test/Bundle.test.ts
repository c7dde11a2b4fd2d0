import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { copyFileSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { variable } from "./support/bundle.ts"
import * as StubServer from "./support/StubServer.ts"
import * as Valetkey from "./support/Valetkey.ts"

const bundle = dirname(process.env[variable] ?? "")
const token = { accessToken: "stub-token", tokenType: "bearer", scopes: ["read"], generation: 3 }

describe("the bundle", () => {
  it.live("S2.33 S2.2 loads no use case, store or provider in a command: only `serve` does", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const witness = join(dirname(valetkey.home.data), "witness.cjs")
      const loaded = join(dirname(valetkey.home.data), "loaded")
      writeFileSync(
        witness,
        `process.on("exit", () => require("node:fs").writeFileSync(${JSON.stringify(loaded)}, JSON.stringify(` +
          `Object.keys(require.cache).filter((file) => file.startsWith(${JSON.stringify(bundle)})))))`
      )
      const env = { NODE_OPTIONS: `--require=${witness}` }
      const code = () =>
        (JSON.parse(readFileSync(loaded, "utf8")) as ReadonlyArray<string>)
          .map((file) => readFileSync(file, "utf8")).join("\n")
      const marks = ["@valetkey/domain/Flows", "@valetkey/domain/AccessTokens", "@valetkey/egress", "node:sqlite"]

      const server = yield* valetkey.start(["serve", "--json"], env)
      yield* server.saw("stdout", /"ready":true/)
      for (
        const args of [["list"], ["status"], ["servers", "list"], ["disconnect", "x"], ["connect", "x"], ["doctor"]]
      ) {
        yield* valetkey.run(args, env)
        const commands = code()
        assert.notInclude(commands, "doctor-race-")
        assert.include(commands, "valetkey.sock")
        for (const mark of marks) assert.notInclude(commands, mark, args.join(" "))
      }
      server.signal("SIGTERM")
      yield* server.ended
      const served = code()
      for (const mark of marks) assert.include(served, mark)
    })))

  it("S2.46 never calls the server a daemon where a command speaks", () => {
    const commands = ["../src/", "../../../packages/client/src/"].flatMap((directory) => {
      const path = new URL(directory, import.meta.url)
      return readdirSync(path).filter((name) => name.endsWith(".ts")).map((name) =>
        readFileSync(new URL(name, path), "utf8")
      )
    })
    assert.isAbove(commands.length, 20)
    for (const source of commands) assert.notMatch(source, /daemon/i)
    assert.include(commands.join("\n"), "Valetkey server")
  })

  it.live("hands out a token without loading anything but the fast path", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const stub = yield* StubServer.make(valetkey, () => ({ body: token }))
      const alone = join(valetkey.home.data, "valetkey.cjs")
      copyFileSync(join(bundle, "valetkey.cjs"), alone)
      assert.deepStrictEqual(readdirSync(valetkey.home.data).filter((name) => name.endsWith(".cjs")), ["valetkey.cjs"])
      const run = (...args: ReadonlyArray<string>) => valetkey.runFile(alone, args)
      assert.strictEqual((yield* run("token", "x")).stdout, "stub-token\n")
      assert.strictEqual((yield* run("token", "x", "--header")).stdout, "Authorization: Bearer stub-token\n")
      assert.strictEqual((yield* run("token", "--min-validity", "60s", "x")).stdout, "stub-token\n")
      assert.deepStrictEqual(Valetkey.theDocument(yield* run("token", "x", "--json")), {
        ok: true,
        server: "x",
        ...token
      })
      assert.match((yield* run("--version")).stdout, /^\d+\.\d+\.\d+\n$/)
      assert.deepStrictEqual([...new Set(stub.requests)], ["POST /v1/connections/x/token"])
    })))

  it.live("says which Node.js it needs", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      for (const [version, code] of [["20.20.2", 1], ["22.18.9", 1], ["22.19.0", 0], ["25.0.0", 0]] as const) {
        const pretence = join(dirname(valetkey.home.data), "pretence.cjs")
        writeFileSync(pretence, `Object.defineProperty(process.versions, "node", { value: "${version}" })`)
        const ended = yield* valetkey.run(["--help"], { NODE_OPTIONS: `--require=${pretence}` })
        assert.strictEqual(ended.code, code, version)
        if (code === 1) assert.match(ended.stderr, /^valetkey: Node\.js 22\.19 or newer is needed; this is [\d.]+\n$/)
      }
    })))

  it.live("keeps what it compiled where nobody else can put some", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const cache = join(dirname(valetkey.home.data), ".cache", "valetkey")
      const { code } = yield* valetkey.run(["--help"])
      assert.strictEqual(code, 0)
      assert.strictEqual(statSync(cache).mode & 0o777, 0o700)
      assert.isAbove(readdirSync(cache, { recursive: true }).length, 1)
    })))

  it.live("gives the same answer on both paths", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      yield* StubServer.make(valetkey, () => ({ body: token }))
      for (const args of [[], ["--header"], ["--json"], ["--header", "--json"]]) {
        const fast = yield* valetkey.run(["token", "x", ...args])
        // A flag that the fast path leaves to the whole command.
        const whole = yield* valetkey.run(["token", "x", "--no-start", ...args])
        assert.strictEqual(fast.stdout, whole.stdout)
        assert.strictEqual(fast.code, whole.code)
      }
    })))
})
