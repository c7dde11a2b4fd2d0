import { assert, describe, it } from "@effect/vitest"
import * as Chromium from "@valetkey/testing/Chromium"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import { Effect } from "effect"
import { listen } from "../src/LoopbackServer.ts"
import { authorizationUrl, pkce } from "./internal/plainClient.ts"

describe("Chromium", () => {
  it.live("logs in and consents in a real browser, and denies in another profile", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const { origin } = yield* listen((request, response) => {
        if (request.url?.startsWith("/callback") === true) seen.push(request.url)
        response.setHeader("content-type", "text/html").end("<h1>Signed in</h1>")
      })
      const provider = yield* OidcProvider.make()
      const url = authorizationUrl(`${provider.issuer}/auth`, pkce().challenge, { redirectUri: `${origin}/callback` })
      const chromium = yield* Chromium.make
      const done = (at: URL) => at.origin === origin
      const alice = yield* chromium.person
      const page = yield* alice.authorize(url, { done })
      assert.strictEqual(yield* Effect.promise(() => page.locator("h1").innerText()), "Signed in")
      const bob = yield* chromium.person
      yield* bob.authorize(url, { done, deny: true })
      const [granted, denied] = seen.map((path) => new URL(path, origin).searchParams)
      assert.isString(granted?.get("code"))
      assert.strictEqual(denied?.get("error"), "access_denied")
    }).pipe(Effect.scoped), 60_000)
})
