import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { caller, deposit } from "./Caller.ts"
import { layer } from "./Harness.ts"

const notes = "/v1/connections/notes"
const described = { resource: "https://notes.example/mcp" }

describe("the forecast of a connection", () => {
  it.effect("REF-21 tells when the refresh token idles out, and when the grant ends whatever is done", () =>
    Effect.gen(function*() {
      const who = yield* caller()
      const given = { refreshExpiresAt: "2031-03-01T00:00:00.000Z", grantedAt: "2030-01-01T00:00:00.000Z" }
      const { connection } = (yield* who.put(notes, deposit(given))).json
      assert.deepInclude(connection, { forecast: { idlesOutAt: given.refreshExpiresAt } })
      yield* who.put("/v1/servers/notes", { ...described, refreshTokenLifetime: "365 days" })
      const forecast = { idlesOutAt: given.refreshExpiresAt, signInBefore: "2031-01-01T00:00:00.000Z" }
      assert.deepInclude((yield* who.get(notes)).json, { forecast })
      const { connections } = (yield* who.get("/v1/connections")).json
      assert.deepInclude((connections as ReadonlyArray<unknown>)[0], { forecast })
      assert.notProperty((yield* who.put("/v1/connections/bare", deposit())).json["connection"], "forecast")
    }).pipe(Effect.provide(layer())))

  it.effect("REF-21 gives the refresh token that takes the place of a deposited one as much time as that had", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("1 hour")
      const who = yield* caller()
      const mail = "/v1/connections/mail"
      const refreshExpiresAt = "1970-03-01T00:00:00.000Z"
      const held = { accessToken: Canary.makeText("access"), expiresAt: "1970-01-01T02:00:00.000Z" }
      yield* who.put(notes, deposit({ refreshExpiresAt }))
      yield* who.put(mail, deposit({ refreshExpiresAt, ...held }))
      yield* TestClock.adjust("5 hours")
      for (const path of [notes, mail]) {
        assert.deepInclude((yield* who.get(path)).json, { forecast: { idlesOutAt: refreshExpiresAt } })
        assert.strictEqual((yield* who.post(`${path}/token`)).json["generation"], 2)
        assert.deepInclude((yield* who.get(path)).json, { forecast: { idlesOutAt: "1970-03-01T05:00:00.000Z" } })
      }
    }).pipe(Effect.provide(layer())))

  it.effect("REF-21 takes lengths of time that are one, and names the member that is none", () =>
    Effect.gen(function*() {
      const who = yield* caller()
      const put = (change: Readonly<Record<string, unknown>>) =>
        who.put("/v1/servers/notes", { ...described, ...change })
      const terms = { refreshTokenIdleLimit: "60 days", refreshTokenLifetime: "1 year", refreshAhead: "keep_alive" }
      assert.isBelow((yield* put(terms)).status, 300)
      assert.deepInclude((yield* who.get("/v1/servers/notes")).json, terms)
      for (
        const [member, value] of [
          ["refreshTokenIdleLimit", "60"],
          ["refreshTokenLifetime", "11 years"],
          ["refreshAhead", "sometimes"]
        ] as const
      ) {
        const refused = yield* put({ [member]: value })
        assert.strictEqual(refused.status, 400)
        assert.include(refused.text, member)
        assert.notInclude(refused.text, "sometimes")
      }
      assert.deepInclude((yield* who.get("/v1/servers/notes")).json, terms)
    }).pipe(Effect.provide(layer())))
})
