import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as StubServer from "./support/StubServer.ts"
import * as Valetkey from "./support/Valetkey.ts"

const consoleUrl = "https://valetkey.example/console/ticket"
const link = { consoleUrl, compareCode: "WDJB-MJHT", expiresAt: "2026-11-21T10:00:00.000Z" }

describe("console", () => {
  it.live("shows the code and opens the link in the browser, or prints it where none is wanted or found", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      yield* StubServer.make(valetkey, () => ({ status: 201, body: link }))
      const { opened, path } = valetkey.browser
      const ended = yield* valetkey.run(["console"], { BROWSER: path })
      assert.deepStrictEqual([ended.code, ended.stdout], [0, ""], ended.stderr)
      assert.include(ended.stderr, "The page must show this code: WDJB-MJHT")
      assert.notInclude(ended.stderr, consoleUrl)
      yield* Valetkey.until(() => opened().length > 0)
      assert.deepStrictEqual(opened(), [[consoleUrl]])
      for (const args of [["console"], ["console", "--no-browser"]]) {
        const printed = yield* valetkey.run(args)
        assert.deepStrictEqual([printed.code, printed.stdout], [0, `${consoleUrl}\n`])
      }
      assert.deepStrictEqual((yield* valetkey.json(["console"])).document, { ok: true, ...link })
    })))

  it.live("leads to a listener of this machine where the server is a local one", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const ended = yield* valetkey.json(["console"])
      assert.strictEqual(ended.code, 0, ended.stderr)
      const url = new URL(String(ended.document["consoleUrl"]))
      assert.match(url.href, /^http:\/\/127\.0\.0\.1:\d+\/console\/[\w-]{43}$/)
      const page = yield* Effect.promise(async () => (await fetch(url)).text())
      assert.include(page, String(ended.document["compareCode"]))
    })))

  it.live("says clearly that a server without public pages has no console", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const problem = {
        type: "https://valetkey.dev/problems/public_url_missing",
        title: "Public url missing",
        status: 422,
        code: "public_url_missing",
        detail: "x"
      }
      yield* StubServer.make(valetkey, () => ({ status: 422, type: "application/problem+json", body: problem }))
      const ended = yield* valetkey.json(["console"])
      assert.deepStrictEqual([ended.code, ended.error.code], [1, "public_url_missing"])
      assert.match(ended.error.message, /no public pages.*VALETKEY_PUBLIC_URL.*valetkey list/)
    })))
})
