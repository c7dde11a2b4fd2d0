import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { caller, deposit, layer } from "./Harness.ts"

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
