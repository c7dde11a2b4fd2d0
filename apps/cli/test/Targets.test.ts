import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import { Effect } from "effect"
import * as Valetkey from "./support/Valetkey.ts"

describe("a command line that is wrong", () => {
  it.live("is explained in words of ours, with what may be meant and where the help is", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      for (
        const [args, sentence] of [
          [["conect"], "valetkey has no such command; did you mean connect? See valetkey --help"],
          [["token", "x", "--hedaer"], "Unknown flag --hedaer; did you mean --header? See valetkey token --help"],
          [["callback"], "The argument flow-id is missing; see valetkey callback --help"],
          [["connect", "x", "y"], "There is an argument too many; see valetkey connect --help"],
          [["token", "x", "--min-validity"], "--min-validity needs a value: expected 60s; see valetkey token --help"],
          [["status", "My Notes"], "The argument name is not what it takes: expected 1 to 63 characters of"]
        ] as const
      ) {
        const { code, error } = yield* valetkey.json(args)
        assert.strictEqual(code, 2)
        assert.isTrue(error.message.startsWith(sentence), error.message)
      }
    })))
})

describe("what a command is to connect to", () => {
  it.live("is a URL or a name; what is neither is refused before a server starts, with the URL that may be meant", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      for (
        const [args, sentence] of [
          [["connect", "mcp.example.com/mcp"], "did you mean https://mcp.example.com/…?"],
          [["mcp", "localhost:3000/mcp"], "did you mean http://localhost:3000/…?"],
          [["connect", "Notes"], "nor a name: a name is 1 to 63 characters"],
          [["connect", "notes/read"], "neither a URL"],
          [["connect", "ftp://mcp.example.com"], "must begin with https:// or http://"],
          [["connect", "https://mcp.example.com/mcp", "--name", "My Notes"], "--name: a name is"]
        ] as const
      ) {
        const { code, stderr } = yield* valetkey.run(args)
        assert.deepStrictEqual([code, stderr.includes(sentence)], [2, true], `${args.join(" ")}: ${stderr}`)
      }
      assert.isUndefined(valetkey.serverPid)
    })))

  // The one secret of these command lines is the caller's own doing; nothing of ours may repeat it.
  it.live("is no URL with a password in it, which is refused without being repeated", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const password = "Pa55wordOfSomebody"
      for (
        const [args, sentence] of [
          [["connect", `https://me:${password}@mcp.example.com/mcp`], "no user name and no password"],
          [["connect", `https://:${password}@mcp.example.com/mcp`], "no user name and no password"],
          [["connect", `me:${password}@mcp.example.com/mcp`], "neither a URL"],
          [["list", "--server", `https://:${password}@valetkey.example.com`], "--server must be"],
          [["doctor", "--race", "--url", `https://:${password}@valetkey.example.com`], "--url must be"],
          [["import", "--from", "mcp-remote", `https://:${password}@mcp.example.com`], "With --from mcp-remote"]
        ] as const
      ) {
        const { code, stderr, stdout } = yield* valetkey.run(args, { VALETKEY_TOKEN: Canary.makeText("caller_token") })
        assert.deepStrictEqual([code, stderr.includes(sentence)], [2, true], `${args.join(" ")}: ${stderr}`)
        assert.notInclude(stderr + stdout, password)
      }
    })))

  it.live("is told to be wrong with every fault that the server found in it", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const args = ["servers", "add", "notes", "mcp.example.com/Secret/path"]
      const { code, stderr } = yield* valetkey.run(args)
      assert.strictEqual(code, 1)
      assert.match(stderr, /see errors\n {2}payload\.resource: expected an absolute .+\n$/)
      assert.notInclude(stderr, "Secret")
      const { error } = yield* valetkey.json(args)
      assert.match(JSON.stringify(error), /"errors":\[\{"path":\["payload","resource"\]/)
    })))

  it.live("S2x.7 says what a local server needs for the gateway, when the flow is started", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const { code, stderr } = yield* valetkey.run(["connect", provider.resource, "--transport", "gateway"])
      assert.strictEqual(code, 1)
      assert.include(stderr, "start it with VALETKEY_PUBLIC_URL")
      assert.strictEqual(provider.requests("authorization").length, 0)
    })))
})
