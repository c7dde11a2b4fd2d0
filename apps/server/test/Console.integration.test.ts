import { assert, describe, it } from "@effect/vitest"
import * as Chromium from "@valetkey/testing/Chromium"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import { Effect } from "effect"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import * as Replica from "./support/Replica.ts"

/** Two replicas on one database, alice with a connection to ask for, and a browser that runs no script. */
const stage = Effect.gen(function*() {
  const database = yield* EmbeddedPostgres.database
  const provider = yield* FakeProvider.make()
  const publicPort = yield* Replica.freePort
  const deployment = Replica.deployment({
    databaseUrl: Replica.text(database.url),
    publicPort,
    allowEgress: new URL(provider.origin).host
  })
  const env = { ...deployment.env, VALETKEY_LISTEN: `127.0.0.1:${publicPort}` }
  const replica = yield* Replica.start(env, deployment.token)
  yield* replica.call("PUT", "/v1/servers/fake", { resource: provider.resource, scopes: ["read"] })
  const { browser } = yield* Chromium.make
  const person = (options: Parameters<typeof browser.newContext>[0] = { javaScriptEnabled: false }) =>
    Effect.map(
      Effect.acquireRelease(
        Effect.promise(() => browser.newContext(options)),
        (context) => Effect.promise(() => context.close())
      ),
      (context) => ({ context, page: Effect.promise(() => context.newPage()) })
    )
  return {
    provider,
    origin: `http://127.0.0.1:${publicPort}`,
    call: replica.call,
    link: linkOf(replica.call),
    /** A link for somebody of another tenant. */
    foreignLink: linkOf(
      Replica.caller(replica.api, Replica.tokenOf(deployment, { sub: "mallory", tenant: "umbrella" }))
    ),
    /** Lets the hour of every session pass. */
    expire: EmbeddedPostgres.statement(database.url, "UPDATE console_sessions SET expires_at = clock_timestamp()"),
    person,
    /** Another replica, which browsers reach by a port of its own. */
    other: Effect.map(Replica.start({ ...env, VALETKEY_LISTEN: "127.0.0.1:0" }), ({ api }) => api),
    status: Effect.map(replica.call("GET", "/v1/connections/fake"), ({ body }) => body["status"])
  }
})

describe("the console in Chromium", () => {
  it.live(
    "connects, tells what happened and disconnects with the keyboard alone and without a script, on any replica",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { link, origin, other, person, provider, status } = yield* stage
        const { context, page: open } = yield* person({ javaScriptEnabled: false, colorScheme: "dark" })
        const page = yield* open
        const { compareCode, url } = yield* link
        const elsewhere = yield* other
        const heading = () => page.locator("h1").innerText()
        const focused = () => page.locator(":focus").innerText()
        /** Goes on with the keyboard to what has this name. */
        const press = async (name: string | RegExp) => {
          for (let steps = 0; steps < 20; steps++) {
            await page.keyboard.press("Tab")
            const text = await page.locator(":focus").count() === 0 ? "" : await focused()
            if (typeof name === "string" ? text === name : name.test(text)) {
              const moved = page.waitForEvent("load")
              await page.keyboard.press("Enter")
              await moved
              return
            }
          }
          assert.fail(`the keyboard leads to nothing named ${name}`)
        }
        yield* Effect.promise(async () => {
          await page.goto(url)
          assert.strictEqual(await page.locator("strong").innerText(), compareCode)
          await Chromium.keepScreenshot(page, "console-sign-in-dark")
          await press("Sign in as alice of acme")
          assert.strictEqual(page.url(), `${origin}/connections`)
          const [cookie, ...others] = await context.cookies()
          assert.deepStrictEqual(others, [])
          assert.deepInclude(cookie, {
            name: "__Host-valetkey_console",
            path: "/",
            secure: true,
            httpOnly: true,
            sameSite: "Strict",
            domain: "127.0.0.1"
          })
          await press("Connect fake")
          await press("Connect fake")
          assert.strictEqual(await heading(), "Almost there")
          const code = await page.locator("strong").innerText()
          await press("Go on")
          assert.strictEqual(await page.locator("strong").innerText(), code)
          await press(`Continue to ${new URL(provider.origin).host}`)
          await page.waitForURL((at) => at.pathname.startsWith("/done/"), { waitUntil: "load" })
          await page.locator("h1", { hasText: "Connected" }).waitFor()
          await press("Go on to your connections")
          assert.strictEqual(page.url(), `${origin}/connections`)
          await page.locator("dd", { hasText: "works" }).waitFor()
          // The other replica knows the session, and what the first one did.
          await page.goto(`${elsewhere}/connections`)
          await page.locator("dd", { hasText: "works" }).waitFor()
          await page.goto(`${origin}/connections`)
          await Chromium.keepScreenshot(page, "console-connections-dark")
          const list = await page.locator("main").ariaSnapshot()
          for (
            const part of [
              "heading \"Your connections\" [level=1]",
              "heading \"fake\" [level=2]",
              "link \"fake\"",
              "term: State",
              "term: Last used",
              "button \"Sign out\""
            ]
          ) assert.include(list, part)
          await press("fake")
          const one = await page.locator("main").ariaSnapshot()
          for (
            const part of [
              "heading \"fake\" [level=1]",
              "link \"Connect fake again\"",
              "link \"Disconnect fake\"",
              "heading \"What happened\" [level=2]",
              "listitem",
              "You signed in, and the connection was stored."
            ]
          ) assert.include(one, part)
          await page.emulateMedia({ colorScheme: "light" })
          await Chromium.keepScreenshot(page, "console-history-light")
          await press("Disconnect fake")
          assert.strictEqual(await heading(), "Disconnect fake")
          await press("Disconnect")
          await page.locator("dd", { hasText: "disconnected" }).waitFor()
          assert.include(await page.locator("main").innerText(), "The connection was ended.")
        })
        assert.strictEqual(yield* status, "revoking")
        yield* Effect.promise(async () => {
          await press("All connections")
          await press("Sign out")
          assert.strictEqual(await heading(), "Signed out")
          assert.deepStrictEqual(await context.cookies(), [])
          await page.goto(`${elsewhere}/connections`)
          assert.strictEqual(await heading(), "Not signed in")
        })
      })),
    120_000
  )

  it.live(
    "WEB-03 does nothing for another browser, a page of another origin, a form that was altered, or after signing out",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { call, link, origin, person, provider, status } = yield* stage
        yield* call("PUT", "/v1/connections/fake", {
          tokenEndpoint: `${provider.origin}/token`,
          clientId: "client",
          refreshToken: "deposited-for-the-console"
        })
        const { context, page: open } = yield* person({})
        const page = yield* open
        const stranger = yield* (yield* person({})).page
        const { url } = yield* link
        const evil = yield* hostile(`${origin}/connections/fake/disconnect`)
        yield* Effect.promise(async () => {
          const heading = () => page.locator("h1").innerText()
          await stranger.goto(url)
          await page.goto(url)
          await page.getByRole("button").click()
          await page.waitForURL(`${origin}/connections`)
          await stranger.getByRole("button").click()
          await stranger.locator("h1", { hasText: "Used already" }).waitFor()
          await stranger.goto(`${origin}/connections`)
          await stranger.locator("h1", { hasText: "Not signed in" }).waitFor()

          // The same site by its host, and another one: of the first the browser sends the cookie along.
          for (const host of ["127.0.0.1", "localhost"]) {
            await page.goto(`http://${host}:${evil}/`)
            await page.locator("h1", { hasText: /Not sent from here|Not signed in/ }).waitFor()
          }
          await page.goto(`${origin}/connections/fake/disconnect`)
          await page.locator("input[name=token]").evaluate((input) => input.setAttribute("value", "altered"))
          await page.getByRole("button", { name: "Disconnect" }).click()
          await page.locator("h1", { hasText: "Not sent from here" }).waitFor()

          await page.goto(`${origin}/connections/fake/disconnect`)
          const token = await page.locator("input[name=token]").getAttribute("value")
          const kept = await context.cookies()
          await page.goto(`${origin}/connections`)
          await page.getByRole("button", { name: "Sign out" }).click()
          await page.locator("h1", { hasText: "Signed out" }).waitFor()
          // Whoever kept the cookie and the form has neither.
          await context.addCookies(kept)
          const late = await context.request.post(`${origin}/connections/fake/disconnect`, {
            form: { token: token ?? "" },
            headers: { origin }
          })
          assert.deepStrictEqual([late.status(), (await late.text()).includes("Not signed in")], [403, true])
          await page.goto(`${origin}/connections`)
          assert.strictEqual(await heading(), "Not signed in")
        })
        assert.strictEqual(yield* status, "active")
      })),
    120_000
  )

  it.live(
    "is of no use to another tenant's session, and to one that has expired",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { call, expire, foreignLink, link, origin, person, provider, status } = yield* stage
        yield* call("PUT", "/v1/connections/fake", {
          tokenEndpoint: `${provider.origin}/token`,
          clientId: "client",
          refreshToken: "deposited-for-the-console"
        })
        const signIn = async (page: Chromium.Person["page"], url: string) => {
          await page.goto(url)
          await page.getByRole("button").click()
          await page.waitForURL(`${origin}/connections`)
        }
        const own = yield* (yield* person({})).page
        const { context, page: open } = yield* person({})
        const foreign = yield* open
        const [{ url }, { url: foreignUrl }] = [yield* link, yield* foreignLink]
        yield* Effect.promise(async () => {
          await signIn(own, url)
          await signIn(foreign, foreignUrl)
          await foreign.getByText("Signed in as mallory of umbrella.").waitFor()
          assert.strictEqual(await foreign.locator("h2").count(), 0)
          for (const path of ["", "/disconnect"]) {
            const shown = await foreign.goto(`${origin}/connections/fake${path}`)
            assert.deepStrictEqual([shown?.status(), await foreign.locator("h1").innerText()], [
              404,
              "That did not work"
            ])
          }
          // With the form of whoever the connection belongs to.
          await own.goto(`${origin}/connections/fake/disconnect`)
          const token = await own.locator("input[name=token]").getAttribute("value")
          const forced = await context.request.post(`${origin}/connections/fake/disconnect`, {
            form: { token: token ?? "" },
            headers: { origin }
          })
          assert.deepStrictEqual([forced.status(), (await forced.text()).includes("Not sent from here")], [403, true])
        })
        yield* expire
        yield* Effect.promise(async () => {
          await own.getByRole("button", { name: "Disconnect" }).click()
          await own.locator("h1", { hasText: "Not signed in" }).waitFor()
          await own.goto(`${origin}/connections`)
          assert.strictEqual(await own.locator("h1").innerText(), "Not signed in")
        })
        assert.strictEqual(yield* status, "active")
      })),
    120_000
  )
})

const linkOf = (call: Replica.Replica["call"]) =>
  Effect.map(call("POST", "/v1/console"), ({ body, status }) => {
    assert.strictEqual(status, 201)
    return { url: String(body["consoleUrl"]), compareCode: String(body["compareCode"]) }
  })

/** Port of a page that sends a form elsewhere on its own. */
const hostile = (target: string) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<ReturnType<typeof createServer>>((resume) => {
        const server = createServer((_, response) => {
          response.writeHead(200, { "content-type": "text/html" })
          response.end(
            `<form method="post" action="${target}"><input name="token" value="x"></form>` +
              "<script>document.forms[0].submit()</script>"
          )
        }).listen(0, () => resume(Effect.succeed(server)))
      }),
      (server) =>
        Effect.promise(() =>
          new Promise((resolve) => {
            server.close(resolve)
            // The browser keeps its connection for a while.
            server.closeAllConnections()
          })
        )
    ),
    (server) => (server.address() as AddressInfo).port
  )
