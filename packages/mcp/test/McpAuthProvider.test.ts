import { assert, describe, it } from "@effect/vitest"
import { ValetkeyClient } from "@valetkey/client/ValetkeyClient"
import { Effect, Redacted } from "effect"
import * as McpAuthProvider from "../src/McpAuthProvider.ts"
import type { Run } from "../src/McpFetch.ts"

/** A server that hands out its newest token and makes another when that one is reported; every report is kept. */
const server = () => {
  const reported: Array<string> = []
  let generation = 1
  const valetkey = {
    token: (_: string, options?: { readonly rejected?: Redacted.Redacted | undefined }) =>
      Effect.sync(() => {
        const rejected = options?.rejected && Redacted.value(options.rejected)
        if (rejected !== undefined) reported.push(rejected)
        if (rejected === `token-${generation}`) generation++
        return { accessToken: Redacted.make(`token-${generation}`) }
      })
  }
  const run: Run = (effect) =>
    Effect.runPromise(Effect.provideService(effect, ValetkeyClient, valetkey as unknown as ValetkeyClient["Service"]))
  return { reported, run }
}

const refusal = { response: new Response(null, { status: 401 }) }

describe("an auth provider", () => {
  it.live("reports a token that was refused once, although two requests were refused with it, one late", () =>
    Effect.promise(async () => {
      const { reported, run } = server()
      const provider = McpAuthProvider.make(run, { server: "notes", ask: () => assert.fail("nobody is asked") })
      assert.strictEqual(await provider.token(), "token-1")
      assert.strictEqual(await provider.token(), "token-1")
      await provider.onUnauthorized(refusal)
      assert.strictEqual(await provider.token(), "token-2")
      await provider.onUnauthorized(refusal)
      assert.deepStrictEqual(reported, ["token-1"])
      assert.strictEqual(await provider.token(), "token-2")
      await provider.onUnauthorized(refusal)
      assert.deepStrictEqual(reported, ["token-1", "token-2"])
      assert.strictEqual(await provider.token(), "token-3")
    }))
})
