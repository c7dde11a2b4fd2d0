import { assert, describe, it } from "@effect/vitest"
import * as Chromium from "@valetkey/testing/Chromium"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import { Effect } from "effect"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { request } from "node:http"
import { Server } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Serve from "../src/Serve.ts"
import * as Settings from "../src/Settings.ts"
import * as Replica from "./support/Replica.ts"

const directory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "vkl-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** A local server without a public URL. */
const stage = Effect.gen(function*() {
  const provider = yield* FakeProvider.make()
  const home = yield* directory
  const replica = yield* Replica.start({
    VALETKEY_HOME: home,
    VALETKEY_LISTEN: "127.0.0.1:0",
    VALETKEY_ALLOW_EGRESS: new URL(provider.origin).host
  })
  const call = Replica.caller(replica.api, readFileSync(join(home, "run", "token"), "utf8").trim())
  yield* call("PUT", "/v1/servers/fake", { resource: provider.resource, scopes: ["read"] })
  const link = Effect.map(call("POST", "/v1/console"), ({ body }) => new URL(String(body["consoleUrl"])))
  return { provider, replica, call, link }
})

/** The status of a request with these headers. */
const ask = (url: URL, path: string, headers: Readonly<Record<string, string>>) =>
  Effect.callback<number | undefined>((resume) => {
    request({ host: url.hostname, port: url.port, path, headers }, (response) => {
      response.resume()
      resume(Effect.succeed(response.statusCode))
    }).end()
  })

/** Has no socket of this process listen, as on a machine without ports, until the scope closes. */
const withoutPorts = Effect.acquireRelease(
  Effect.sync(() => {
    const { listen } = Server.prototype
    Server.prototype.listen = function(this: Server) {
      queueMicrotask(() => this.emit("error", new Error("EADDRNOTAVAIL")))
      return this
    }
    return listen
  }),
  (listen) => Effect.sync(() => void (Server.prototype.listen = listen))
)

describe("the console of a local server", () => {
  it.live(
    "says that no port could be opened, and opens one when it is asked again",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const home = yield* directory
        const settings = yield* Settings.load({ VALETKEY_HOME: home, VALETKEY_LISTEN: "127.0.0.1:0" })
        if (settings.profile !== "local") return yield* Effect.die(settings.profile)
        const ready = yield* Serve.startLocal(settings)
        const api = ready.listen.find((address) => address.startsWith("http:")) ?? ""
        const call = Replica.caller(api, readFileSync(join(home, "run", "token"), "utf8").trim())
        const refused = yield* Effect.scoped(Effect.andThen(withoutPorts, call("POST", "/v1/console")))
        assert.deepStrictEqual([refused.status, refused.body["code"]], [503, "console_port_unavailable"])
        assert.match(String(refused.body["detail"]), /try again/)
        assert.strictEqual((yield* call("POST", "/v1/console")).status, 201)
      })),
    60_000
  )

  it.live(
    "is at a listener of its own on this machine, where a person connects by the loopback listener",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { call, link, replica } = yield* stage
        const url = yield* link
        assert.strictEqual(url.hostname, "127.0.0.1")
        assert.notStrictEqual(url.origin, replica.api)
        assert.strictEqual((yield* link).origin, url.origin)
        const { page } = yield* (yield* Chromium.make).person
        yield* Effect.promise(async () => {
          await page.goto(url.href)
          await page.getByRole("button", { name: "Sign in as local of local" }).click()
          await page.getByRole("link", { name: "Connect fake" }).click()
          await page.getByRole("button", { name: "Connect fake" }).click()
          await page.locator("h1", { hasText: "Connected" }).waitFor()
          assert.match(page.url(), /^http:\/\/127\.0\.0\.1:\d+\/cb\//)
          await page.getByRole("link", { name: "Go on to your connections" }).click()
          assert.strictEqual(page.url(), `${url.origin}/connections`)
          await page.locator("dd", { hasText: "works" }).waitFor()
        })
        assert.strictEqual((yield* call("GET", "/v1/connections/fake")).body["status"], "active")
      })),
    60_000
  )

  it.live(
    "answers for its own name alone, to pages of its own, and has nothing but the console",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { link } = yield* stage
        const url = yield* link
        const own = { host: url.host }
        const answers = yield* Effect.all([
          ask(url, url.pathname, own),
          ask(url, url.pathname, { host: `rebound.example:${url.port}` }),
          ask(url, url.pathname, { host: `localhost:${url.port}` }),
          ask(url, url.pathname, { ...own, origin: "https://evil.example" }),
          ask(url, "/connections", own),
          ask(url, "/v1/connections", own),
          ask(url, "/callback/x?state=s&code=c", own)
        ])
        assert.deepStrictEqual(answers, [200, 421, 421, 403, 403, 404, 404])
      })),
    60_000
  )
})
