import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import { Effect } from "effect"
import { generateKeyPairSync } from "node:crypto"
import * as Valetkey from "./support/Valetkey.ts"

describe("the key of a client that signs", () => {
  it.live("is made, or read in either spelling, and its public half is shown", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const add = ["servers", "add", "x", "https://x.example", "--client-id", "c", "--auth-method", "private_key_jwt"]
      const made = yield* valetkey.run(add)
      assert.strictEqual(made.code, 0, made.stderr)
      assert.match(made.stderr, /"kty":"EC"/)
      const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" })
      const { d, x, ...jwk } = privateKey.export({ format: "jwk" })
      Canary.register("client_secret", d!)
      const pem = privateKey.export({ format: "pem", type: "pkcs8" }).toString()
      for (const text of [pem, JSON.stringify({ ...jwk, d, x, kid: "mine" })]) {
        const read = yield* valetkey.run([...add, "--client-key", "-"], {}, text)
        assert.strictEqual(read.code, 0, read.stderr)
        const shown = yield* valetkey.run(["servers", "show", "x"])
        assert.match(shown.stdout, new RegExp(`public key +.*"x":"${x}"`))
      }
      for (const args of [["--client-key", "/nowhere"], ["--client-secret-stdin"]]) {
        assert.strictEqual((yield* valetkey.run([...add, ...args], {}, "s")).code, 2)
      }
    })))
})
