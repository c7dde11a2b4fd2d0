import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Valetkey from "./support/Valetkey.ts"

describe("a server whose tokens stay with the installation", () => {
  it.live("PROX-11 is added and shown as such, and the command gets no token of it", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      assert.strictEqual((yield* valetkey.json(["servers", "add", "x", "https://x.example", "--proxied"])).code, 0)
      assert.match((yield* valetkey.run(["servers", "show", "x"])).stdout, /tokens +stay here/)
      for (const args of [["token", "x", "--json"], ["exec", "x", "--env", "T", "--", "true"]]) {
        const ended = yield* valetkey.run(args)
        assert.strictEqual(ended.code, 1, args.join(" "))
        assert.include(ended.stdout + ended.stderr, "Access tokens of this server stay here")
      }
      assert.strictEqual((yield* valetkey.json(["servers", "add", "x", "https://x.example"])).code, 0)
      assert.match((yield* valetkey.run(["servers", "show", "x"])).stdout, /tokens +are handed out/)
    })))
})
