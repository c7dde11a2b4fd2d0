import { assert, describe, it } from "@effect/vitest"
import { EndpointPolicy } from "@valetkey/api/Policy"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import { RedemptionError } from "@valetkey/domain/AuthorizationServer"
import { ConsoleStore } from "@valetkey/domain/ConsoleStore"
import { StoreError } from "@valetkey/domain/StoreError"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import { Context, Duration, Effect } from "effect"
import type * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import { TestClock } from "effect/testing"
import { caller, deposit } from "./Caller.ts"
import { answerPath, connect, leave } from "./Consent.ts"
import { fromHere, link, otherBrowser, signIn, submit, tokenOf } from "./Console.ts"
import { layer } from "./Harness.ts"
import { type Answer, Http, send } from "./Http.ts"
import { issue, publicOrigin, Script } from "./Script.ts"

const title = ({ text }: Answer) => /<h1>(.*?)<\/h1>/.exec(text)?.[1]
const refusedTitle = "Not sent from here"
const sessionName = "__Host-valetkey_console"

const statusOf = Effect.fnUntraced(function*(claims: Readonly<Record<string, unknown>> = {}) {
  const { json } = yield* (yield* caller(claims)).get("/v1/connections/notes")
  return json["status"]
})

describe("the link into the console", () => {
  it.effect("WEB-03 lets one browser in, whose page shows as whom and the code that the program shows", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const { compareCode, path } = yield* link(ada)
      const page = yield* send("GET", path)
      assert.strictEqual(page.status, 200)
      assert.include(page.text, "<bdi>ada of acme</bdi>")
      assert.include(page.text, compareCode)
      assert.deepStrictEqual((yield* Http).cookies.has(sessionName), false)
      const entered = yield* submit(page, path)
      assert.deepStrictEqual([entered.status, entered.headers.get("location")], [303, "/connections"])
      const [own, ...others] = entered.headers.getSetCookie().filter((line) => line.startsWith(sessionName))
      assert.deepStrictEqual(others, [])
      assert.match(own!, /^__Host-valetkey_console=[\w-]{43}; Max-Age=\d+; Path=\/; HttpOnly; Secure; SameSite=Strict$/)
      // What tied the browser to the link is not needed any longer.
      assert.deepStrictEqual([...(yield* Http).cookies.keys()], [sessionName])
      assert.include((yield* send("GET", "/connections")).text, "Signed in as <bdi>ada of acme</bdi>.")
    }).pipe(Effect.provide(layer())))

  it.effect("says to a browser that keeps no cookie what to do, in place of trying again for ever, and stays good", () =>
    Effect.gen(function*() {
      const { path } = yield* link(yield* caller())
      const { cookies } = yield* Http
      const page = yield* send("GET", path)
      const held = [...cookies]
      const post = (headers: Readonly<Record<string, string>> = {}) =>
        send("POST", path, { body: `token=${tokenOf(page)}`, headers: { ...fromHere, ...headers } })
      cookies.clear()
      // What another server of the same host set, on another port.
      cookies.set("theirs", "x")
      const english = yield* post()
      assert.deepStrictEqual([english.status, title(english)], [403, refusedTitle])
      assert.match(english.text, /Safari keeps none for pages over http.*another browser.*https/)
      assert.notInclude(english.text, "reload")
      assert.match((yield* post({ "accept-language": "de" })).text, /Safari behält keine von Seiten über http/)
      // A browser that keeps cookies, and not that of this link, has an older page.
      cookies.set("__Host-vk_0000000000000000", "x")
      assert.include((yield* post()).text, "reload the page")
      for (const [name, value] of held) cookies.set(name, value)
      assert.strictEqual((yield* post()).status, 303)
    }).pipe(Effect.provide(layer())))

  it.effect("is of no use a second time, in the same browser or in another one", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const { path } = yield* link(ada)
      const page = yield* send("GET", path)
      // Somebody else has it open as well, and is slower.
      const back = yield* otherBrowser
      const foreign = yield* send("GET", path)
      const theirs = yield* otherBrowser
      yield* back
      assert.strictEqual((yield* submit(page, path)).status, 303)
      for (const again of [yield* send("GET", path), yield* submit(page, path)]) {
        assert.deepStrictEqual([again.status, title(again)], [403, "Used already"])
      }
      yield* theirs
      const late = yield* submit(foreign, path)
      assert.deepStrictEqual([late.status, title(late)], [403, "Used already"])
      assert.isFalse((yield* Http).cookies.has(sessionName))
      assert.strictEqual((yield* send("GET", "/connections")).status, 403)
    }).pipe(Effect.provide(layer())))

  it.effect("WEB-03 takes no form of another browser, another page, another origin, or none", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const { path } = yield* link(ada)
      const page = yield* send("GET", path)
      const token = tokenOf(page)
      const post = (body: string, headers: Readonly<Record<string, string>> = fromHere) =>
        send("POST", path, { body, headers })
      const form = { "content-type": "application/x-www-form-urlencoded" }
      const refusals = [
        yield* post(`token=${token.slice(0, -1)}${token.endsWith("A") ? "B" : "A"}`),
        yield* post(""),
        yield* post(`token=${token}&token=${token}`),
        yield* post(`token=${token}`, { ...form, origin: "https://evil.example" }),
        yield* post(`token=${token}`, { ...fromHere, "sec-fetch-site": "cross-site" }),
        yield* post(`token=${token}`, form)
      ]
      const back = yield* otherBrowser
      refusals.push(yield* post(`token=${token}`))
      yield* send("GET", path)
      refusals.push(yield* post(`token=${token}`))
      yield* back
      for (const refused of refusals) assert.deepStrictEqual([refused.status, title(refused)], [403, refusedTitle])
      assert.strictEqual((yield* submit(page, path)).status, 303)
    }).pipe(Effect.provide(layer())))

  it.effect("leads nowhere when its time is over, when it was never given out, and for what looks ahead", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const { path } = yield* link(ada)
      const ahead = yield* send("GET", path, { headers: { "sec-purpose": "prefetch" } })
      assert.deepStrictEqual([ahead.status, ahead.text], [204, ""])
      assert.strictEqual((yield* send("DELETE", path)).status, 405)
      const page = yield* send("GET", path)
      yield* TestClock.adjust("11 minutes")
      for (
        const gone of [
          yield* submit(page, path),
          yield* send("GET", path),
          yield* send("GET", `/console/${"A".repeat(43)}`),
          yield* send("GET", "/console/short")
        ]
      ) assert.deepStrictEqual([gone.status, title(gone)], [404, "Not known"])
    }).pipe(Effect.provide(layer())))

  it.effect("is for callers who may read connections, and gives no scope that they lack or that the console has no use for", () =>
    Effect.gen(function*() {
      const blind = yield* caller({ scope: "connections:write flows:write tokens:read admin operator" })
      assert.strictEqual((yield* blind.post("/v1/console")).status, 403)
      yield* link(yield* caller())
      yield* link(yield* caller({ scope: "connections:read tokens:read admin" }))
      const scopes = [...(yield* MemoryWorld).consoles.values()].map(({ session }) => [...session.scopes].toSorted())
      assert.deepStrictEqual(scopes, [["connections:read", "connections:write", "flows:write"], ["connections:read"]])
    }).pipe(Effect.provide(layer())))

  it.effect("lets the browser in though the session that it had before cannot be ended", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      yield* signIn(ada)
      const store = yield* ConsoleStore
      const { end } = store
      const away = Effect.fail(new StoreError({ code: "store_unavailable", operation: "test" }))
      Object.assign(store, { end: () => away })
      const page = yield* signIn(ada)
      Object.assign(store, { end })
      assert.strictEqual(page.status, 200)
    }).pipe(Effect.provide(layer())))

  it.effect("keeps no secret in the store", () =>
    Effect.gen(function*() {
      const { path } = yield* link(yield* caller())
      const ticket = path.split("/").at(-1)!
      yield* submit(yield* send("GET", path), path)
      const secret = (yield* Http).cookies.get(sessionName)!
      const world = yield* MemoryWorld
      const stored = JSON.stringify([[...world.consoles], world.audit])
      for (const text of [ticket, secret]) assert.notInclude(stored, text)
    }).pipe(Effect.provide(layer())))
})

describe("a session of the console", () => {
  it.effect("ends an hour after it began, and a quarter of an hour after its last page", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      yield* signIn(ada)
      for (let minutes = 0; minutes < 50; minutes += 10) {
        yield* TestClock.adjust("10 minutes")
        assert.strictEqual((yield* send("GET", "/connections")).status, 200)
      }
      yield* TestClock.adjust("11 minutes")
      const over = yield* send("GET", "/connections")
      assert.deepStrictEqual([over.status, title(over)], [403, "Not signed in"])
      yield* signIn(ada)
      yield* TestClock.adjust("16 minutes")
      assert.strictEqual((yield* send("GET", "/connections")).status, 403)
    }).pipe(Effect.provide(layer())))

  it.effect("ends when its browser signs out, is replaced by the next one, and ends with its tenant", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const { cookies } = yield* Http
      const page = yield* signIn(ada)
      const first = cookies.get(sessionName)!
      const out = yield* submit(page, "/connections")
      assert.deepStrictEqual([out.status, title(out)], [200, "Signed out"])
      assert.isFalse(cookies.has(sessionName))
      cookies.set(sessionName, first)
      assert.strictEqual((yield* send("GET", "/connections")).status, 403)

      yield* signIn(ada)
      const second = cookies.get(sessionName)!
      yield* signIn(ada)
      const third = cookies.get(sessionName)!
      cookies.set(sessionName, second)
      assert.strictEqual((yield* send("GET", "/connections")).status, 403)
      cookies.set(sessionName, third)
      assert.strictEqual((yield* send("GET", "/connections")).status, 200)
      yield* (yield* caller({ tenant: "house" })).delete("/v1/tenants/acme")
      assert.strictEqual((yield* send("GET", "/connections")).status, 403)
    }).pipe(Effect.provide(layer())))

  it.effect("is none of somebody else's: the secret of a session opens what is its owner's, and nothing when it was altered", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      yield* connect(ada)
      const { cookies } = yield* Http
      for (const claims of [{ sub: "grace" }, { tenant: "umbrella" }]) {
        const page = yield* signIn(yield* caller(claims))
        assert.notInclude(page.text, "notes.example")
        assert.include(page.text, "Nothing is connected yet.")
        const theirs = yield* send("GET", "/connections/notes")
        assert.strictEqual(theirs.status, 404)
        const ask = yield* send("GET", "/connections/notes/disconnect")
        assert.strictEqual(ask.status, 404)
        // The form of the sign-out page belongs to that page alone.
        const forced = yield* send("POST", "/connections/notes/disconnect", {
          body: `token=${tokenOf(page)}`,
          headers: fromHere
        })
        assert.strictEqual(forced.status, 403)
        assert.strictEqual(yield* statusOf(), "active")
      }
      const secret = cookies.get(sessionName)!
      for (const wrong of [`${secret.slice(0, -1)}${secret.endsWith("A") ? "B" : "A"}`, "A".repeat(43), "x", ""]) {
        cookies.set(sessionName, wrong)
        assert.strictEqual((yield* send("GET", "/connections")).status, 403)
      }
    }).pipe(Effect.provide(layer())))

  it("may call what the console shows and nothing else", () => {
    const allowed = Object.entries(ValetkeyApi.groups).flatMap(([group, { endpoints }]) =>
      Object.entries(endpoints as Record<string, HttpApiEndpoint.Top>).flatMap(([name, endpoint]) => {
        const policy = Context.getOrUndefined(endpoint.annotations, EndpointPolicy)
        return policy?._tag === "Guarded" && policy.kinds.includes("console") ? [`${group}.${name}`] : []
      })
    )
    assert.deepStrictEqual(allowed.toSorted(), [
      "connections.disconnect",
      "connections.get",
      "connections.history",
      "connections.list",
      "flows.start",
      "servers.list"
    ])
  })

  it.effect("does no more than the scopes of whoever asked for the link, and is shown no more", () =>
    Effect.gen(function*() {
      yield* connect(yield* caller())
      const page = yield* signIn(yield* caller({ scope: "connections:read" }))
      assert.strictEqual(page.status, 200)
      const one = yield* send("GET", "/connections/notes")
      assert.notMatch(one.text, /notes\/(connect|disconnect)"/)
      for (const [path, scope] of [["disconnect", "connections:write"], ["connect", "flows:write"]]) {
        const ask = yield* send("GET", `/connections/notes/${path}`)
        const forbidden = yield* submit(ask, `/connections/notes/${path}`)
        assert.deepStrictEqual([forbidden.status, title(forbidden)], [403, "Not allowed"], scope)
      }
      assert.strictEqual(yield* statusOf(), "active")
    }).pipe(Effect.provide(layer())))
})

describe("the pages of the console", () => {
  it.effect("WEB-03 end a connection by a form of this session and this page, and by nothing else", () =>
    Effect.gen(function*() {
      yield* connect(yield* caller())
      const list = yield* signIn(yield* caller())
      const path = "/connections/notes/disconnect"
      const ask = yield* send("GET", path)
      const token = tokenOf(ask)
      const post = (body: string, headers: Readonly<Record<string, string>> = fromHere) =>
        send("POST", path, { body, headers })
      const form = { "content-type": "application/x-www-form-urlencoded" }
      const refusals = [
        yield* post(`token=${token.slice(1)}`),
        yield* post(""),
        yield* post(`token=${tokenOf(list)}`),
        yield* post(`token=${token}`, { ...form, origin: "https://evil.example" }),
        yield* post(`token=${token}`, { ...fromHere, origin: "null" }),
        yield* post(`token=${token}`, { ...fromHere, "sec-fetch-site": "same-site" }),
        yield* post(`token=${token}`, form)
      ]
      for (const refused of refusals) assert.deepStrictEqual([refused.status, title(refused)], [403, refusedTitle])
      // The token of an earlier session is worth nothing in the next one.
      yield* signIn(yield* caller())
      assert.strictEqual(title(yield* post(`token=${token}`)), refusedTitle)
      assert.strictEqual(yield* statusOf(), "active")
      const done = yield* submit(yield* send("GET", path), path)
      assert.deepStrictEqual([done.status, done.headers.get("location")], [303, "/connections/notes"])
      assert.strictEqual(yield* statusOf(), "revoking")
      const event = (yield* MemoryWorld).audit.find(({ action }) => action === "connection.disconnected")
      assert.deepInclude(event, { principal: "console", subject: "ada", tenant: "acme" } as never)
    }).pipe(Effect.provide(layer())))

  it.effect("tell why one must sign in again, and lead to a connect page that shows the same code", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const script = yield* Script
      const { done: elsewhere } = yield* connect(ada)
      assert.notInclude((yield* send("GET", elsewhere)).text, "/connections")
      yield* TestClock.adjust("2 hours")
      script.refresh = () => Effect.fail(new RedemptionError({ reason: { _tag: "Terminal", error: "invalid_grant" } }))
      yield* ada.post("/v1/connections/notes/token", {})
      const list = yield* signIn(ada)
      assert.include(list.text, "needs you to sign in again")
      assert.include(list.text, "The provider refused the refresh token.")
      const one = yield* send("GET", "/connections/notes")
      const happened = [
        ...one.text.matchAll(/<li><time datetime="[\dTZ:.-]+">[^<]+<\/time> (.*?) <small>(.*?)<\/small>/g)
      ]
        .map(([, sentence, details]) => [sentence, details?.replaceAll(/<\/?code>|\d:[0-9a-f]{16}/g, "").trim()])
      assert.deepStrictEqual(happened, [
        [
          "From here on you had to sign in again. The provider refused the refresh token.",
          "generation 1 · secret  · by a signed token"
        ],
        [
          "The provider refused to renew the token.",
          "generation 1 · the provider said invalid_grant · secret  · by a signed token"
        ],
        [
          "You signed in, and the connection was stored.",
          "generation 1 · secret  · by the server itself"
        ],
        ["A sign-in was begun.", "by a signed token"]
      ])
      script.refresh = issue
      const path = "/connections/notes/connect"
      const ask = yield* send("GET", path)
      assert.strictEqual(title(ask), "Connect notes again")
      const started = yield* submit(ask, path)
      const code = /<strong><bdi>(.*?)<\/bdi>/.exec(started.text)?.[1]
      const { connectPath } = script
      assert.include(started.text, `<a href="${connectPath}">Go on</a>`)
      const offer = yield* send("GET", connectPath)
      assert.include(offer.text, `<strong><bdi>${code}</bdi></strong>`)
      assert.include(offer.text, "<bdi>ada of acme</bdi>")
      yield* leave(offer, connectPath)
      const landed = yield* send("GET", yield* answerPath)
      const done = yield* send("GET", landed.headers.get("location")!)
      assert.strictEqual(title(done), "Connected")
      assert.include(done.text, `<a href="${publicOrigin}/connections">Go on to your connections</a>`)
      assert.strictEqual(yield* statusOf(), "active")
      assert.notInclude((yield* send("GET", "/connections/notes")).text, "Why")
      // Pressed twice, the second attempt takes the place of the first.
      const [first, second] = [yield* send("GET", path), yield* send("GET", path)]
      assert.strictEqual((yield* submit(first, path)).status, 200)
      assert.strictEqual((yield* submit(second, path)).status, 200)
    }).pipe(Effect.provide(layer())))

  it.effect("show what is connected with its last use, what may be connected, and the history page after page", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const empty = yield* signIn(ada)
      assert.include(empty.text, "<a href=\"/connections/notes/connect\">Connect <bdi>notes</bdi></a>")
      yield* connect(ada)
      yield* ada.post("/v1/connections/notes/token", {})
      yield* TestClock.adjust(Duration.seconds(31))
      const list = yield* send("GET", "/connections")
      assert.match(list.text, /<dt>State<\/dt><dd>works<\/dd>/)
      assert.match(list.text, /<dt>May use<\/dt><dd><bdi>notes\.read<\/bdi><\/dd>/)
      assert.match(
        list.text,
        /<dt>Last used<\/dt><dd><time datetime="[^"]+">[^<]+ UTC<\/time>, to within a minute<\/dd>/
      )
      assert.notInclude(list.text, "/connections/notes/connect\"")
      for (let index = 0; index < 12; index++) yield* connect(ada, { reauthorize: true })
      const first = yield* send("GET", "/connections/notes")
      assert.lengthOf(first.text.match(/<li><time/g) ?? [], 20)
      const earlier = /href="(\/connections\/notes\?before=[\w-]{43})"/.exec(first.text)?.[1]
      const second = yield* send("GET", earlier!)
      assert.lengthOf(second.text.match(/<li><time/g) ?? [], 6)
      assert.notInclude(second.text, "before=")
    }).pipe(Effect.provide(layer())))

  it.effect("offer to connect what no page of the connections holds, and lead to every server", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const numbered = (letter: string, count: number) =>
        Array.from({ length: count }, (_, index) => `${letter}${String(index).padStart(3, "0")}`)
      const [connected, free] = [numbered("c", 52), numbered("d", 110)]
      for (const server of [...connected, ...free]) {
        yield* ada.put(`/v1/servers/${server}`, { resource: `https://${server}.example/mcp` })
      }
      // Their servers are gone: they stand between what is connected and what is not.
      for (const server of [...connected, ...numbered("c-gone-", 60)]) {
        assert.strictEqual((yield* ada.put(`/v1/connections/${server}`, deposit())).status, 201)
      }
      yield* ada.delete("/v1/connections/c007")
      yield* signIn(ada)
      const offered: Array<string> = []
      const shown: Array<string> = []
      const links = (text: string, pattern: RegExp) => [...text.matchAll(pattern)].map(([, found = ""]) => found)
      const walk = Effect.fnUntraced(function*(name: string, take: (text: string) => void) {
        let path: string | undefined = "/connections?"
        let pages = 0
        while (path !== undefined) {
          const { text }: Answer = yield* send("GET", path)
          take(text)
          const place = new URLSearchParams(path.split("?")[1]).get(name)
          path = links(text, /href="(\/connections\?[^"]+)"/g).map((link) => link.replaceAll("&amp;", "&"))
            .find((link) => ![place, null].includes(new URLSearchParams(link.split("?")[1]).get(name)))
          pages++
        }
        return pages
      })
      const pages = yield* walk(
        "past",
        (text) => offered.push(...links(text, /href="\/connections\/([^"]+)\/connect"/g))
      )
      assert.deepStrictEqual(offered, ["c007", ...free, "notes"])
      assert.isAtMost(pages, 5)
      yield* walk("after", (text) => shown.push(...links(text, /<h2><a href="\/connections\/([^"]+)"/g)))
      assert.lengthOf(new Set(shown), 112)
      const second = yield* send("GET", "/connections?after=c-gone-030&past=d050")
      assert.include(second.text, "href=\"/connections?after=c-gone-030&amp;past=d100\"")
      assert.include(second.text, "href=\"/connections?after=c020&amp;past=d050\"")
    }).pipe(Effect.provide(layer())))

  it.effect("speak the language of the browser, and answer in pages whatever is asked of them", () =>
    Effect.gen(function*() {
      yield* connect(yield* caller())
      yield* signIn(yield* caller())
      const german = yield* send("GET", "/connections/notes", { headers: { "accept-language": "de" } })
      assert.include(german.text, "<html lang=\"de\"")
      assert.include(german.text, "Eine Anmeldung wurde begonnen.")
      for (
        const [path, status] of [["/connections/NOTES", 404], ["/connections/a%2Fb", 404], ["/connections/x", 404]]
      ) {
        const { headers, status: answered } = yield* send("GET", String(path))
        assert.strictEqual(answered, status, String(path))
        assert.match(headers.get("content-type")!, /^text\/html/)
      }
      assert.strictEqual((yield* send("PUT", "/connections", { body: "x" })).status, 405)
      assert.strictEqual((yield* send("GET", "/connections?after=%00&x=1")).status, 200)
      assert.strictEqual((yield* send("GET", "/connections", { headers: { origin: publicOrigin } })).status, 200)
    }).pipe(Effect.provide(layer())))
})
