import { assert, describe, it } from "@effect/vitest"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import * as Reply from "@valetkey/testing/Reply"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect, Exit } from "effect"
import * as Valetkey from "./support/Valetkey.ts"

/** The code that a command shows. */
const shown = (running: Valetkey.Running, stream: "stderr" | "stdout" = "stderr") =>
  Effect.map(running.saw(stream, /The code is (\S+)\./), ([, code = ""]) => code)

/** A provider whose device codes may be asked about every second. */
const quick = Effect.tap(
  FakeProvider.make(),
  (provider) => Effect.sync(() => provider.always("device", Reply.patch({ interval: 1 })))
)

describe("connect --transport device", () => {
  it.live("EXT-01 EXT-02 shows page, host and code, waits for a consent on another device at a real provider, and connects", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* OidcProvider.make()
      const { browser } = valetkey
      const running = yield* valetkey.start(
        ["connect", `${provider.issuer}/mcp`, "--name", "real", "--scope", "mcp:read", "--transport", "device"],
        { BROWSER: browser.path }
      )
      const [page] = yield* running.saw("stdout", /https?:\/\/\S+/)
      yield* running.saw("stderr", new RegExp(`Open this page of ${new URL(provider.issuer).host} on any device`))
      const code = yield* shown(running)
      assert.strictEqual(new URL(page).searchParams.get("user_code"), code)
      yield* UserAgent.make().authorize(`${provider.issuer}/device`, { answers: { user_code: code } })
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.include(ended.stdout, "Connected to real")
      assert.deepStrictEqual(browser.opened(), [])
      assert.strictEqual((yield* valetkey.run(["token", "real"])).code, 0)
    })))

  it.live("EXT-01 tells a program what to show, and why there is no connection", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* quick
      const connect = ["connect", provider.resource, "--name", "fake", "--transport", "device"]
      const { document } = yield* valetkey.json([...connect, "--no-browser"])
      assert.deepInclude(document, {
        deferred: true,
        transport: "device",
        userCode: "WDJB-MJHT",
        verificationUri: `${provider.issuer}/activate`
      })
      const running = yield* valetkey.start([...connect, "--replace", "--json"])
      yield* shown(running)
      provider.answerDevices("denied")
      const denied = yield* running.ended
      assert.deepStrictEqual(
        [denied.code, (Valetkey.theDocument(denied)["error"] as { readonly code: string }).code],
        [1, "access_denied"]
      )
      provider.script("device", [Reply.error("unauthorized_client"), Reply.error("unauthorized_client")])
      assert.strictEqual((yield* valetkey.json(connect)).error.code, "device_refused")
      provider.always("serverMetadata", Reply.patch({ device_authorization_endpoint: undefined }))
      assert.strictEqual((yield* valetkey.json(connect)).error.code, "device_unsupported")
    })))

  it.live("EXT-01 connects to a provider without metadata whose device endpoint an operator gave", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* quick
      const endpoint = (name: string, path: string) => [`--${name}-endpoint`, `${provider.issuer}/${path}`]
      const added = yield* valetkey.run([
        "servers",
        "add",
        "fake",
        provider.resource,
        "--client-id",
        "fake-client",
        ...endpoint("authorization", "authorize"),
        ...endpoint("token", "token"),
        ...endpoint("device", "device")
      ])
      assert.strictEqual(added.code, 0, added.stderr)
      const running = yield* valetkey.start(["connect", "fake", "--transport", "device"])
      yield* shown(running)
      provider.answerDevices("approved")
      assert.strictEqual((yield* running.ended).code, 0)
      assert.strictEqual(provider.requests("serverMetadata").length, 0)
    })))

  it.live("EXT-01 cancels the flow when it is interrupted, and asks the provider no more", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* quick
      const running = yield* valetkey.start(["connect", provider.resource, "--name", "fake", "--transport", "device"])
      yield* shown(running)
      yield* provider.arrived("token")
      running.signal("SIGINT")
      assert.strictEqual((yield* running.ended).code, 130)
      const asked = provider.requests("token").length
      provider.answerDevices("approved")
      const again = yield* valetkey.json(["connect", "fake", "--transport", "device", "--no-browser"])
      yield* provider.arrived("token", asked + 2)
      assert.propertyVal(again.document, "deferred", true)
      const [first, ...others] = provider.requests("token").slice(asked).map(({ form }) => form.get("device_code"))
      assert.isTrue(others.every((code) => code === first))
      assert.notStrictEqual(first, provider.requests("token")[0]?.form.get("device_code"))
    })))
})

describe("going on with another transport", () => {
  it.live("another command continues the flow that waits for a browser, and both see it end", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* quick
      const waiting = yield* valetkey.start(["connect", provider.resource, "--name", "fake", "--no-browser"])
      const [, command = ""] = yield* waiting.saw("stderr", /To go on on another device: valetkey (.+)/)
      assert.strictEqual(command, "connect fake --transport device")
      const [url] = yield* waiting.saw("stdout", /https?:\/\/\S+/)
      const going = yield* valetkey.start(command.split(" "))
      yield* going.saw("stderr", /Continuing the flow that was waiting/)
      yield* shown(going)
      // The provider sends a browser to the listener of the former way, which is gone.
      assert.isTrue(Exit.isFailure(yield* Effect.exit(UserAgent.make().authorize(url))))
      provider.answerDevices("approved")
      for (const ended of [yield* going.ended, yield* waiting.ended]) {
        assert.strictEqual(ended.code, 0, ended.stderr)
        assert.include(ended.stdout, "Connected to fake")
      }
      assert.strictEqual(provider.families.length, 1)
    })))

  it.live("S2.26 closing the command whose URL is dead leaves the flow to the one that goes on with it", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* quick
      const waiting = yield* valetkey.start(["connect", provider.resource, "--name", "fake", "--no-browser"])
      yield* waiting.saw("stderr", /Ctrl\+C/)
      const going = yield* valetkey.start(["connect", "fake", "--transport", "device"])
      yield* shown(going)
      waiting.signal("SIGINT")
      const left = yield* waiting.ended
      assert.strictEqual(left.code, 130)
      assert.include(left.stderr, "Stopped waiting; the flow goes on where another command shows how")
      assert.notInclude(left.stderr, "Cancelled")
      provider.answerDevices("approved")
      const ended = yield* going.ended
      assert.strictEqual(ended.code, 0, ended.stderr)
    })))

  it.live("S2.26 the command that goes on with a flow takes it along when it is closed", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* quick
      const waiting = yield* valetkey.start(["connect", provider.resource, "--name", "fake", "--no-browser"])
      yield* waiting.saw("stderr", /Ctrl\+C/)
      const going = yield* valetkey.start(["connect", "fake", "--transport", "device"])
      yield* shown(going)
      going.signal("SIGINT")
      assert.include((yield* going.ended).stderr, "Cancelled")
      const ended = yield* waiting.ended
      assert.strictEqual(ended.code, 1)
      assert.include(ended.stderr, "The flow was cancelled")
    })))

  it.live("a word at the terminal continues the flow on another device", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* quick
      const running = yield* valetkey.atTerminal(["connect", provider.resource, "--name", "fake", "--no-browser"])
      yield* running.saw("stdout", /type device and press Enter/)
      yield* running.type("device\r")
      yield* shown(running, "stdout")
      provider.answerDevices("approved")
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 0, ended.stdout)
      assert.include(ended.stdout, "Connected to fake")
    })))

  it.live("S2.26 closing a terminal takes along the flow that was continued in it", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* quick
      const running = yield* valetkey.atTerminal(["connect", provider.resource, "--name", "fake", "--no-browser"])
      yield* running.saw("stdout", /type device and press Enter/)
      yield* running.type("device\r")
      yield* shown(running, "stdout")
      yield* running.type("\u0003")
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 130, ended.stdout)
      assert.include(ended.stdout, "Cancelled")
    })))
})
