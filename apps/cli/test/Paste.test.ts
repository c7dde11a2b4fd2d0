import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect } from "effect"
import * as Valetkey from "./support/Valetkey.ts"

/** Where a browser ends that consents at a provider and cannot reach the listener: the address, not its page. */
const landing = Effect.fnUntraced(function*(url: string) {
  const redirectUri = new URL(url).searchParams.get("redirect_uri") ?? ""
  const { href, searchParams } = yield* UserAgent.make().callbackUrl(url, redirectUri)
  Canary.register("code", searchParams.get("code") ?? "")
  return href
})

/** A flow that was begun with `--no-browser --json`, and the address where its browser ends. */
const deferred = Effect.gen(function*() {
  const valetkey = yield* Valetkey.make
  const provider = yield* FakeProvider.make()
  const { document } = yield* valetkey.json(["connect", provider.resource, "--name", "fake", "--no-browser"])
  const flowId = String(document["flowId"])
  return { valetkey, provider, flowId, address: yield* landing(String(document["authorizationUrl"])) }
})

describe("a browser that cannot reach the listener", () => {
  it.live("LOOP-15 callback finishes a deferred flow by the address on stdin, and repeats nothing of it", () =>
    Effect.scoped(Effect.gen(function*() {
      const { address, flowId, provider, valetkey } = yield* deferred
      const ended = yield* valetkey.json(["callback", flowId], {}, `${address}\n`)
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.propertyVal(ended.document, "status", "completed")
      assert.propertyVal(ended.document, "server", "fake")
      for (const name of ["code", "state"]) {
        assert.notInclude(ended.stdout + ended.stderr, new URL(address).searchParams.get(name)!)
      }
      assert.strictEqual((yield* valetkey.run(["token", "fake"])).code, 0)
      const again = yield* valetkey.json(["callback", flowId], {}, address)
      assert.deepStrictEqual([again.code, again.error.code], [1, "callback_url_late"])
      assert.strictEqual(provider.requests("token").length, 1)
    })))

  it.live("LOOP-15 callback refuses a bare code and another flow's address, and the flow goes on", () =>
    Effect.scoped(Effect.gen(function*() {
      const { address, flowId, valetkey } = yield* deferred
      const cases = [
        ["callback_url_invalid", new URL(address).searchParams.get("code")!],
        ["callback_url_invalid", address.replace(/state=[^&]*/, "")],
        ["callback_url_mismatch", address.replace(/state=[^&]*/, "state=forged")],
        ["callback_url_mismatch", address.replace("/cb/", "/cb/other")],
        ["usage", ""],
        ["usage", `${address}\n${address}`],
        ["usage", "x".repeat(100_000)]
      ] as const
      for (const [code, text] of cases) {
        const ended = yield* valetkey.json(["callback", flowId], {}, text)
        assert.strictEqual(ended.error.code, code)
      }
      assert.strictEqual((yield* valetkey.json(["callback", "no-flow"], {}, address)).error.code, "flow_not_found")
      for (const args of [["callback", flowId, "http://127.0.0.1/cb"], ["callback", "http://127.0.0.1/cb"]]) {
        const { error } = yield* valetkey.json(args)
        assert.deepStrictEqual([error.code, /address comes by stdin/.test(error.message)], ["usage", true])
      }
      assert.strictEqual((yield* valetkey.run(["callback", flowId], {}, address)).code, 0)
    })))

  it.live("LOOP-15 connect --transport paste prints the URL, opens nothing, and says how to go on", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const { browser } = valetkey
      const running = yield* valetkey.start(
        ["connect", provider.resource, "--name", "fake", "--transport", "paste"],
        { BROWSER: browser.path }
      )
      const [url] = yield* running.saw("stdout", /https?:\/\/\S+/)
      const [, flowId = ""] = yield* running.saw("stderr", /valetkey callback (\S+) < FILE/)
      const carried = yield* valetkey.run(["callback", flowId], {}, yield* landing(url))
      assert.strictEqual(carried.code, 0, carried.stderr)
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.include(ended.stdout, "Connected to fake")
      assert.deepStrictEqual(browser.opened(), [])
    })))

  it.live("LOOP-15 connect offers the same where no browser can be opened", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const running = yield* valetkey.start(["connect", provider.resource, "--name", "fake", "--json"])
      const [, url = ""] = yield* running.saw("stderr", /No browser could be opened.*: (https?:\/\/\S+)/)
      const [, flowId = ""] = yield* running.saw("stderr", /valetkey callback (\S+) < FILE/)
      assert.strictEqual((yield* valetkey.run(["callback", flowId], {}, yield* landing(url))).code, 0)
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.propertyVal(Valetkey.theDocument(ended), "status", "completed")
    })))

  it.live("LOOP-15 connect shows the URL when the opener is there and finds no browser", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const running = yield* valetkey.start(["connect", provider.resource, "--name", "fake"], { BROWSER: "/bin/false" })
      const [, url = ""] = yield* running.saw("stderr", /No browser could be opened.*: (https?:\/\/\S+)/)
      const [, flowId = ""] = yield* running.saw("stderr", /valetkey callback (\S+) < FILE/)
      assert.strictEqual((yield* valetkey.run(["callback", flowId], {}, yield* landing(url))).code, 0)
      assert.strictEqual((yield* running.ended).code, 0)
    })))

  it.live("LOOP-15 connect takes an address that is pasted at its terminal, and shows nothing of it", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const running = yield* valetkey.atTerminal(["connect", provider.resource, "--name", "fake", "--no-browser"])
      const [url = ""] = yield* running.saw("stdout", /https?:\/\/\S+/)
      yield* running.saw("stdout", /paste the address of that page here/)
      const address = yield* landing(url)
      // Another flow's first: it says so and goes on.
      yield* running.type(`${address.replace(/state=[^&]*/, "state=forged")}\r`)
      yield* running.saw("stdout", /belongs to something else than this flow/)
      yield* running.type(`${address}\r`)
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 0, ended.stdout)
      assert.include(ended.stdout, "Connected to fake")
      for (const name of ["code", "state"]) {
        const secret = new URL(address).searchParams.get(name)!
        assert.notInclude(ended.stdout.slice(ended.stdout.indexOf(url) + url.length), secret)
      }
      assert.strictEqual(provider.requests("token").length, 1)
    })))
})

describe("connect over SSH", () => {
  const session = { SSH_CONNECTION: "192.0.2.1 50000 192.0.2.7 22", BROWSER: "", DISPLAY: "", WAYLAND_DISPLAY: "" }

  it.live("prints the URL and the exact line that forwards the port of the listener, and opens nothing", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const running = yield* valetkey.start(["connect", provider.resource, "--name", "fake"], session)
      const [url] = yield* running.saw("stdout", /https?:\/\/\S+/)
      const { port } = new URL(new URL(url).searchParams.get("redirect_uri")!)
      const [line] = yield* running.saw("stderr", /ssh .*/)
      assert.match(line, new RegExp(`^ssh -L ${port}:127\\.0\\.0\\.1:${port} \\S+@192\\.0\\.2\\.7$`))
      yield* running.saw("stderr", /valetkey callback \S+ < FILE/)
      yield* UserAgent.make().authorize(url)
      assert.strictEqual((yield* running.ended).code, 0)
    })))

  it.live("DAEM-10 keeps stdout one document: line and URL are talk", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const running = yield* valetkey.start(["connect", provider.resource, "--name", "fake", "--json"], {
        ...session,
        SSH_CONNECTION: "2001:db8::1 50000 2001:db8::7 2222"
      })
      const [url] = yield* running.saw("stderr", /https?:\/\/\S+/)
      const { port } = new URL(new URL(url).searchParams.get("redirect_uri")!)
      const [line] = yield* running.saw("stderr", /ssh .*/)
      assert.match(line, new RegExp(`^ssh -p 2222 -L ${port}:127\\.0\\.0\\.1:${port} \\S+@2001:db8::7$`))
      yield* UserAgent.make().authorize(url)
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.propertyVal(Valetkey.theDocument(ended), "status", "completed")
    })))

  it.live("says nothing of ports where a screen is, or no session", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      for (
        const [index, env] of [{ ...session, DISPLAY: ":0" }, { ...session, SSH_CONNECTION: "$(touch /x) 1 y z" }]
          .entries()
      ) {
        const running = yield* valetkey.start(
          ["connect", provider.resource, "--name", `fake-${index}`],
          { ...env, BROWSER: valetkey.browser.path }
        )
        yield* running.saw("stderr", /Ctrl\+C/)
        running.signal("SIGINT")
        assert.notInclude((yield* running.ended).stderr, "ssh ")
      }
    })))
})
