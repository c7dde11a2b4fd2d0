import { assert, describe, it } from "@effect/vitest"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect } from "effect"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Replica from "./support/Replica.ts"

/** One local installation whose server can be started again with another configuration. */
const installation = Effect.gen(function*() {
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "vkf-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )
  const home = join(directory, "home")
  /** Runs a server for as long as `use` needs it. */
  const during = <A, E>(env: Replica.Env, use: (call: Replica.Replica["call"]) => Effect.Effect<A, E>) =>
    Effect.scoped(Effect.gen(function*() {
      const server = yield* Replica.start({ VALETKEY_HOME: home, VALETKEY_LISTEN: "127.0.0.1:0", ...env })
      const token = readFileSync(join(home, "run", "token"), "utf8").trim()
      const result = yield* use(Replica.caller(server.api, token))
      server.signal("SIGTERM")
      yield* server.ended
      return result
    }))
  return { during }
})

describe("a redirect URI", () => {
  it.live("FLOW-30 is the one of the start, although the public URL changes before the person comes back", () =>
    Effect.scoped(Effect.gen(function*() {
      const { during } = yield* installation
      const provider = yield* FakeProvider.make()
      const person = UserAgent.make()
      const port = yield* Replica.freePort
      const env = (publicUrl: string) => ({
        VALETKEY_PUBLIC_URL: publicUrl,
        VALETKEY_PUBLIC_LISTEN: `127.0.0.1:${port}`
      })
      const before = `http://127.0.0.1:${port}`
      const { flowId, callback } = yield* during(env(before), (call) =>
        Effect.gen(function*() {
          yield* call("PUT", "/v1/servers/notes", { resource: provider.resource })
          const { body } = yield* call("POST", "/v1/flows", { server: "notes", transport: "gateway" })
          const left = yield* person.leave(String(body["connectUrl"]))
          const redirectUri = left.searchParams.get("redirect_uri")!
          assert.isTrue(redirectUri.startsWith(`${before}/callback/`))
          return { flowId: String(body["flowId"]), callback: yield* person.callbackUrl(left, redirectUri) }
        }))
      const after = `http://localhost:${port}`
      yield* during(env(after), (call) =>
        Effect.gen(function*() {
          // The new configuration is in force for whatever starts now.
          yield* call("PUT", "/v1/servers/other", { resource: provider.resource })
          const { body } = yield* call("POST", "/v1/flows", { server: "other", transport: "gateway" })
          assert.isTrue(String(body["connectUrl"]).startsWith(`${after}/connect/`))
          assert.strictEqual((yield* person.request(callback)).status, 303)
          const flow = (yield* call("GET", `/v1/flows/${flowId}?wait=30`)).body
          assert.strictEqual(flow["status"], "completed", JSON.stringify(flow["failure"]))
        }))
      const [exchange, ...more] = provider.requests("token")
      assert.deepStrictEqual(more, [])
      assert.strictEqual(
        new URLSearchParams(exchange?.body).get("redirect_uri"),
        `${callback.origin}${callback.pathname}`
      )
    })))

  it.live("FLOW-30 of a listener that is gone comes back by nothing else: no other port is taken for its own", () =>
    Effect.scoped(Effect.gen(function*() {
      const { during } = yield* installation
      const provider = yield* FakeProvider.make()
      const person = UserAgent.make()
      const { flowId, callback } = yield* during({}, (call) =>
        Effect.gen(function*() {
          yield* call("PUT", "/v1/servers/notes", { resource: provider.resource })
          const { body } = yield* call("POST", "/v1/flows", { server: "notes" })
          const url = new URL(String(body["authorizationUrl"]))
          const redirectUri = url.searchParams.get("redirect_uri")!
          return { flowId: String(body["flowId"]), callback: yield* person.callbackUrl(url, redirectUri) }
        }))
      yield* during({}, (call) =>
        Effect.gen(function*() {
          const elsewhere = new URL(callback)
          elsewhere.port = String(Number(callback.port) === 65_535 ? 1024 : Number(callback.port) + 1)
          const moved = yield* call("POST", `/v1/flows/${flowId}/callback`, { url: elsewhere.href })
          assert.deepStrictEqual([moved.status, moved.body["code"]], [422, "callback_url_mismatch"])
          const carried = yield* call("POST", `/v1/flows/${flowId}/callback`, { url: callback.href })
          assert.strictEqual(carried.body["status"], "completed", JSON.stringify(carried.body))
        }))
      const [exchange] = provider.requests("token")
      assert.strictEqual(
        new URLSearchParams(exchange?.body).get("redirect_uri"),
        `${callback.origin}${callback.pathname}`
      )
    })))
})
