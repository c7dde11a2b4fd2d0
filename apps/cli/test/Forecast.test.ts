import { assert, describe, it } from "@effect/vitest"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect } from "effect"
import * as Valetkey from "./support/Valetkey.ts"

describe("the forecast of a connection", () => {
  it.live(
    "REF-21 stands in the status in plain words, and the terms in the description of the server",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const valetkey = yield* Valetkey.make
        const provider = yield* FakeProvider.make({ refreshTokenIdleSeconds: 30 * 86_400 })
        const add = (...terms: ReadonlyArray<string>) =>
          valetkey.run(["servers", "add", "notes", provider.resource, ...terms])
        const refused = yield* add("--refresh-token-lifetime", "soon")
        assert.strictEqual(refused.code, 2)
        assert.include(refused.stderr, "a number of minutes, hours, days or years")
        const terms = ["--refresh-token-lifetime", "180 days", "--refresh-ahead", "keep_alive"]
        assert.strictEqual((yield* add(...terms)).code, 0)
        assert.match(
          (yield* valetkey.run(["servers", "show", "notes"])).stdout,
          /grants end after +180 days\n.*renewed ahead +keep_alive/
        )
        const running = yield* valetkey.start(["connect", "notes", "--no-browser"])
        const [url] = yield* running.saw("stdout", /https?:\/\/\S+/)
        yield* UserAgent.make().authorize(url)
        assert.strictEqual((yield* running.ended).code, 0)
        const status = (yield* valetkey.run(["status", "notes"])).stdout
        assert.match(status, /idles out +on \d{4}-\d\d-\d\d \(in (30d|29d 23h)\), unless it is renewed before/)
        assert.match(status, /sign in again before +on \d{4}-\d\d-\d\d \(in (180d|179d 23h)\), at the latest/)
        const { connection } = (yield* valetkey.json(["status", "notes"])).document
        assert.hasAllKeys((connection as { readonly forecast: object }).forecast, ["idlesOutAt", "signInBefore"])
      })),
    60_000
  )
})
