import { assert, describe, it } from "@effect/vitest"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import * as Canary from "@valetkey/testing/Canary"
import { Effect } from "effect"
import { caller } from "./Caller.ts"
import { callbackPath } from "./Consent.ts"
import { layer } from "./Harness.ts"
import { send } from "./Http.ts"
import { publicOrigin, Script } from "./Script.ts"

/** A started flow, the address that its browser comes back to, and what became of it. */
const started = Effect.fnUntraced(function*(transport: "gateway" | "loopback") {
  const ada = yield* caller()
  const { json } = yield* ada.post("/v1/flows", { server: "notes", transport })
  const path = `/v1/flows/${String(json["flowId"])}`
  const { pathname, searchParams } = new URL(yield* callbackPath, publicOrigin)
  return {
    ada,
    path,
    pathname,
    state: searchParams.get("state")!,
    code: searchParams.get("code")!,
    settled: Effect.map(ada.get(`${path}?wait=10`), ({ json }) => json)
  }
})

const implicit = () =>
  new URLSearchParams({
    access_token: Canary.makeText("access"),
    id_token: Canary.makeText("id_token"),
    refresh_token: Canary.makeText("refresh"),
    token_type: "Bearer",
    expires_in: "3600"
  })

const exchanges = Effect.map(Script, ({ calls }) => calls.filter((call) => call === "server.exchange").length)
const stored = Effect.map(MemoryWorld, ({ connections }) => [...connections.values()])

describe("tokens in an authorization response", () => {
  it.effect("FLOW-31 make no connection: without a code the flow fails, and nothing is exchanged or stored", () =>
    Effect.gen(function*() {
      const { pathname, settled, state } = yield* started("gateway")
      const tokens = implicit()
      const answer = yield* send("GET", `${pathname}?state=${state}&${tokens}`)
      assert.strictEqual(answer.status, 303)
      const flow = yield* settled
      assert.strictEqual(flow["status"], "failed")
      assert.propertyVal(flow["failure"], "code", "malformed_response")
      assert.strictEqual(yield* exchanges, 0)
      assert.deepStrictEqual(yield* stored, [])
      const done = yield* send("GET", answer.headers.get("location")!)
      for (const value of tokens.values()) {
        if (value.length > 10) assert.notInclude(done.text + JSON.stringify(flow), value)
      }
    }).pipe(Effect.provide(layer())))

  it.effect("FLOW-31 are left unread beside a code: the code is exchanged, and what came with it is stored nowhere", () =>
    Effect.gen(function*() {
      const { ada, code, pathname, settled, state } = yield* started("gateway")
      const tokens = implicit()
      yield* send("GET", `${pathname}?state=${state}&code=${code}&${tokens}`)
      assert.strictEqual((yield* settled)["status"], "completed")
      assert.strictEqual(yield* exchanges, 1)
      const { json } = yield* ada.post("/v1/connections/notes/token", {})
      assert.notStrictEqual(json["accessToken"], tokens.get("access_token"))
      const rows = JSON.stringify(yield* stored)
      for (const value of tokens.values()) if (value.length > 10) assert.notInclude(rows, value)
    }).pipe(Effect.provide(layer())))

  it.effect("FLOW-31 make no connection in a fragment or a form either", () =>
    Effect.gen(function*() {
      const { ada, path, pathname, state } = yield* started("loopback")
      const tokens = implicit()
      const form = yield* send("POST", pathname, {
        body: `state=${state}&${tokens}`,
        headers: { "content-type": "application/x-www-form-urlencoded" }
      })
      assert.strictEqual(form.status, 405)
      const url = `${publicOrigin}${pathname}#state=${state}&${tokens}`
      const pasted = yield* ada.post(`${path}/callback`, { url })
      assert.deepStrictEqual([pasted.status, pasted.json["code"]], [422, "callback_url_invalid"])
      const mixed = yield* ada.post(`${path}/callback`, { url: `${publicOrigin}${pathname}?state=${state}#${tokens}` })
      assert.propertyVal(mixed.json["failure"], "code", "malformed_response")
      assert.strictEqual(yield* exchanges, 0)
      assert.deepStrictEqual(yield* stored, [])
    }).pipe(Effect.provide(layer())))
})
