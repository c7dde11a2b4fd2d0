import { assert, describe, it } from "@effect/vitest"
import { failureSentence } from "@valetkey/domain/Flow"
import { Effect, Fiber } from "effect"
import { rightState } from "./internal/flow.ts"
import { callback, open, right } from "./internal/listener.ts"
import { visit } from "./internal/visitor.ts"

describe("LoopbackTransport", () => {
  it.live("S1x.4 S2x.8 FLOW-14 LOOP-11 shows fixed sentences under strict headers and nothing of the request", () =>
    Effect.gen(function*() {
      const opened = yield* open()
      const probe = "<img src=x onerror=alert(1)>\u001b[31m"
      const shown = yield* visit(
        callback(opened.redirectUri, { state: "wrong", error: probe, error_description: probe })
      )
      const page = yield* Effect.forkChild(
        visit(callback(opened.redirectUri, {
          state: rightState,
          error: "access_denied",
          error_description: probe,
          error_uri: "https://evil.example/"
        }))
      )
      yield* opened.flow.claimed
      yield* opened.flow.settle("failed", "access_denied")
      const denied = yield* Fiber.join(page)
      assert.include(denied.body, failureSentence.access_denied)
      for (const { body, headers } of [shown, denied]) {
        for (const trace of ["onerror", "evil", "\u001b", "<script", "access_denied", "src="]) {
          assert.notInclude(body, trace)
        }
        assert.match(String(headers["content-security-policy"]), /^default-src 'none'.*frame-ancestors 'none'/)
        assert.notInclude(String(headers["content-security-policy"]), "unsafe-inline")
        assert.strictEqual(headers["cache-control"], "no-store")
        assert.strictEqual(headers["referrer-policy"], "no-referrer")
        assert.strictEqual(headers["x-content-type-options"], "nosniff")
        assert.strictEqual(headers["cross-origin-opener-policy"], "same-origin")
        assert.strictEqual(headers["connection"], "close")
      }
    }).pipe(Effect.scoped))

  it.live("tells each ending by its own page", () =>
    Effect.gen(function*() {
      const endings = [
        ["cancelled", "Cancelled"],
        ["superseded", "Replaced"],
        ["expired", "Expired"],
        ["outcome_unknown", "Not finished"]
      ] as const
      for (const [state, title] of endings) {
        const opened = yield* open()
        yield* opened.flow.settle(state)
        assert.include((yield* visit(right(opened.redirectUri))).body, title)
      }
    }).pipe(Effect.scoped))

  it.live("speaks the language of the browser", () =>
    Effect.gen(function*() {
      const opened = yield* open()
      yield* opened.flow.settle("expired")
      const headers = { "accept-language": "de-CH, fr;q=0.5" }
      for (const target of [right(opened.redirectUri), new URL("/nowhere", opened.redirectUri)]) {
        const page = yield* visit(target, { headers })
        assert.include(page.body, "<html lang=\"de\" dir=\"ltr\">")
        assert.strictEqual(page.headers["content-language"], "de")
        assert.match(page.body, /Die Zeit zum Verbinden ist vorbei|Diese Anfrage gehört zu keiner Verbindung/)
      }
    }).pipe(Effect.scoped))
})
