import { assert, describe, it } from "@effect/vitest"
import * as Chromium from "@valetkey/testing/Chromium"
import { Effect } from "effect"
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs"
import { dirname } from "node:path"
import { fileURLToPath } from "node:url"
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
      const running = yield* valetkey.start(["console"], { BROWSER: path })
      yield* Valetkey.until(() => opened().length > 0)
      // What the machine shows of the process is a file of the person alone, which leads to the link.
      const [[shown = ""] = []] = opened()
      assert.notInclude(shown, "ticket")
      const page = fileURLToPath(shown)
      assert.strictEqual(dirname(page), valetkey.home.run)
      assert.deepStrictEqual([statSync(page).mode & 0o777, statSync(dirname(page)).mode & 0o777], [0o600, 0o700])
      assert.include(readFileSync(page, "utf8"), `content="0; url=${consoleUrl}"`)
      const ended = yield* running.ended
      assert.deepStrictEqual([ended.code, ended.stdout], [0, ""], ended.stderr)
      assert.include(ended.stderr, "The page must show this code: WDJB-MJHT")
      assert.notInclude(ended.stderr, consoleUrl)
      assert.isFalse(existsSync(page))
      for (const args of [["console"], ["console", "--no-browser"]]) {
        const printed = yield* valetkey.run(args)
        assert.deepStrictEqual([printed.code, printed.stdout], [0, `${consoleUrl}\n`])
      }
      assert.deepStrictEqual((yield* valetkey.json(["console"])).document, { ok: true, ...link })
    })))

  it.live("prints over SSH the exact line that forwards its port, and opens nothing that was not chosen", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const local = { ...link, consoleUrl: "http://127.0.0.1:4711/console/ticket" }
      let answer = local
      yield* StubServer.make(valetkey, () => ({ status: 201, body: answer }))
      const session = { SSH_CONNECTION: "192.0.2.1 50000 192.0.2.7 22", BROWSER: "", DISPLAY: "", WAYLAND_DISPLAY: "" }
      const there = yield* valetkey.run(["console"], session)
      assert.deepStrictEqual([there.code, there.stdout], [0, `${local.consoleUrl}\n`], there.stderr)
      assert.match(there.stderr, /\n {2}ssh -L 4711:127\.0\.0\.1:4711 \S+@192\.0\.2\.7\n/)
      assert.notInclude(there.stderr, "Opening the browser")
      const told = yield* valetkey.json(["console"], session)
      assert.deepStrictEqual(told.document, { ok: true, ...local })
      assert.include(told.stderr, "ssh -L 4711:")
      const { stderr: here } = yield* valetkey.run(["console"], { ...session, DISPLAY: ":0", BROWSER: "/bin/false" })
      assert.notInclude(here, "ssh ")
      answer = link
      assert.notInclude((yield* valetkey.run(["console"], session)).stderr, "ssh ")
    })))

  it.live("says on a Mac that Safari is not let in over http", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      let consoleUrl = "http://127.0.0.1:4711/console/ticket"
      yield* StubServer.make(valetkey, () => ({ status: 201, body: { ...link, consoleUrl } }))
      const script = "Object.defineProperty(process, 'platform', { value: 'darwin' })"
      const mac = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(script)}` }
      const args = ["console", "--no-browser"]
      const warned = yield* valetkey.run(args, mac)
      assert.deepStrictEqual([warned.code, warned.stdout], [0, `${consoleUrl}\n`], warned.stderr)
      assert.match(warned.stderr, /Safari keeps no cookie .* another browser/)
      assert.notInclude((yield* valetkey.run(args)).stderr, "Safari")
      consoleUrl = link.consoleUrl
      assert.notInclude((yield* valetkey.run(args, mac)).stderr, "Safari")
    })))

  it.live("LOOP-15 prints the link when the opener is there and finds no browser", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      yield* StubServer.make(valetkey, () => ({ status: 201, body: link }))
      const ended = yield* valetkey.run(["console"], { BROWSER: "/bin/false" })
      assert.deepStrictEqual([ended.code, ended.stdout], [0, `${consoleUrl}\n`], ended.stderr)
      assert.include(ended.stderr, "No browser could be opened")
      assert.deepStrictEqual(readdirSync(valetkey.home.run).filter((name) => name.endsWith(".html")), [])
    })))

  it.live("takes its page away when it is interrupted", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      yield* StubServer.make(valetkey, () => ({ status: 201, body: link }))
      const { opened, path } = valetkey.browser
      const running = yield* valetkey.start(["console"], { BROWSER: path })
      yield* Valetkey.until(() => opened().length > 0)
      running.signal("SIGINT")
      yield* running.ended
      assert.isFalse(existsSync(fileURLToPath(opened()[0]?.[0] ?? "")))
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

  it.live("lets a browser in by the page that it is given", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const { page } = yield* (yield* Chromium.make).person
      const { opened, path } = valetkey.browser
      yield* valetkey.start(["console"], { BROWSER: path })
      yield* Valetkey.until(() => opened().length > 0)
      yield* Effect.promise(async () => {
        await page.goto(opened()[0]?.[0] ?? "")
        await page.getByRole("button", { name: "Sign in as local of local" }).click()
        await page.locator("h1", { hasText: "Connections" }).waitFor()
        assert.strictEqual(new URL(page.url()).pathname, "/connections")
      })
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
