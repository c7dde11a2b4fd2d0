import { assert, describe, it } from "@effect/vitest"
import * as Chromium from "@valetkey/testing/Chromium"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import { Effect } from "effect"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Replica from "./support/Replica.ts"

const scopes = ["read", "<img/src=x/onerror=alert(1)>", "<script>alert(1)</script>"]

/** A local server whose connect page a real browser can open, and a person in front of it. */
const stage = Effect.gen(function*() {
  const provider = yield* FakeProvider.make()
  const home = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "vkb-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )
  const port = yield* Replica.freePort
  const replica = yield* Replica.start({
    VALETKEY_HOME: home,
    VALETKEY_LISTEN: `127.0.0.1:${port}`,
    VALETKEY_PUBLIC_URL: `http://127.0.0.1:${port}`,
    VALETKEY_ALLOW_EGRESS: new URL(provider.origin).host
  })
  const call = Replica.caller(replica.api, readFileSync(join(home, "run", "token"), "utf8").trim())
  yield* call("PUT", "/v1/servers/fake", { resource: provider.resource, scopes })
  const { body: started } = yield* call("POST", "/v1/flows", { server: "fake", transport: "gateway" })
  const chromium = yield* Chromium.make
  const { context, page } = yield* chromium.person
  const complaints: Array<string> = []
  page.on("console", (message) => void (message.type() === "error" && complaints.push(message.text())))
  page.on("pageerror", (error) => void complaints.push(error.message))
  page.on("dialog", (dialog) => void (complaints.push(dialog.message()), dialog.dismiss()))
  return { provider, port, started, chromium, context, page, complaints }
})

describe("the connect page in Chromium", () => {
  it.live(
    "WEB-04 WEB-06 WEB-08 is passed with the keyboard alone, keeps its cookie until the way back, and minds no going back",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { complaints, context, page, port, provider, started } = yield* stage
        yield* Effect.promise(async () => {
          await page.goto(String(started["connectUrl"]))
          const [cookie, ...more] = await context.cookies()
          assert.deepStrictEqual(more, [])
          assert.match(cookie?.name ?? "", /^__Host-vk_/)
          assert.deepInclude(cookie, { path: "/", secure: true, httpOnly: true, sameSite: "Lax", domain: "127.0.0.1" })
          await page.keyboard.press("Tab")
          assert.strictEqual(await page.locator(":focus").innerText(), `Continue to ${new URL(provider.origin).host}`)
          await page.keyboard.press("Enter")
          await page.waitForURL((url) => url.pathname.startsWith("/done/"), { waitUntil: "load" })
          assert.strictEqual(new URL(page.url()).port, String(port))
          assert.strictEqual(await page.locator("h1").innerText(), "Connected")
          assert.deepStrictEqual(await context.cookies(), [])
          await page.goBack()
          assert.strictEqual(page.url(), started["connectUrl"])
          assert.strictEqual(await page.locator("h1").innerText(), "Connected")
        })
        assert.deepStrictEqual(complaints, [])
        assert.strictEqual(provider.requests("token").length, 1)
        assert.isUndefined(provider.requests("authorization")[0]?.headers.referer)
      })),
    60_000
  )

  it.live(
    "WEB-02 WEB-05 shows what comes from elsewhere as text, with headings, terms and a button that a reader names",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { complaints, page, started } = yield* stage
        yield* Effect.promise(async () => {
          await page.goto(String(started["connectUrl"]))
          assert.strictEqual(await page.locator("img, script, svg, iframe").count(), 0)
          const text = await page.locator("main").innerText()
          for (const fact of [...scopes, String(started["compareCode"]), "local of local"]) assert.include(text, fact)
          const tree = await page.locator("main").ariaSnapshot()
          for (const part of ["heading \"Connect fake\" [level=1]", "term: You sign in at", "button \"Continue to "]) {
            assert.include(tree, part)
          }
        })
        assert.deepStrictEqual(complaints, [])
      })),
    60_000
  )

  it.live(
    "BIND-01 BIND-02 BIND-03 connects nobody who was sent the link or the provider's address, and still the one who took it",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { chromium, page, provider, started } = yield* stage
        const victim = (yield* chromium.person).page
        const connectUrl = String(started["connectUrl"])
        yield* Effect.promise(async () => {
          // The attacker takes the link, and stops at the provider's door with its address.
          const door = (url: URL) => url.origin === provider.origin
          await page.route(door, (route) => route.abort())
          await page.goto(connectUrl)
          const [request] = await Promise.all([
            page.waitForRequest((request) => door(new URL(request.url()))),
            page.click("button")
          ])
          const authorizationUrl = request.url()

          const taken = await victim.goto(connectUrl)
          assert.strictEqual(taken?.status(), 403)
          assert.strictEqual(await victim.locator("button").count(), 0)
          const arrived = await victim.goto(authorizationUrl)
          assert.strictEqual(arrived?.status(), 400)
          assert.include(await victim.locator("main").innerText(), "Nothing was changed")
          assert.strictEqual(provider.requests("authorization").length, 1)
          assert.strictEqual(provider.requests("token").length, 0)

          await page.unroute(door)
          await page.goto(authorizationUrl)
          await page.waitForURL((url) => url.pathname.startsWith("/done/"), { waitUntil: "load" })
          assert.strictEqual(await page.locator("h1").innerText(), "Connected")
          assert.strictEqual(provider.requests("token").length, 1)
        })
      })),
    120_000
  )
})
