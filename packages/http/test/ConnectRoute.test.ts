import { assert, describe, it } from "@effect/vitest"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { caller } from "./Caller.ts"
import { answerPath, leave } from "./Consent.ts"
import { layer } from "./Harness.ts"
import { type Answer, Http, send } from "./Http.ts"
import { publicOrigin, Script } from "./Script.ts"

const started = Effect.fnUntraced(function*(claims: Readonly<Record<string, unknown>> = {}, server = "notes") {
  const ada = yield* caller(claims)
  const { json } = yield* ada.post("/v1/flows", { server })
  const { connectPath } = yield* Script
  return {
    ada,
    connectPath,
    compareCode: String(json["compareCode"]),
    callback: yield* answerPath,
    status: Effect.map(ada.get(`/v1/flows/${String(json["flowId"])}?wait=10`), ({ json }) => json["status"])
  }
})

const rows = Effect.map(MemoryWorld, ({ flows }) => JSON.stringify([...flows.values()]))
const exchanges = Effect.map(Script, ({ calls }) => calls.filter((call) => call === "server.exchange").length)
const cookiesOf = ({ headers }: Answer) => headers.getSetCookie()
const tokenOf = ({ text }: Answer) => /name="token" value="([\w-]{43})"/.exec(text)?.[1] ?? ""
const form = { "content-type": "application/x-www-form-urlencoded" }
const ours = { ...form, origin: publicOrigin, "sec-fetch-site": "same-origin" }

/** Another browser for a moment. */
const elsewhere = <A, E, R>(use: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | Http> =>
  Effect.gen(function*() {
    const { cookies } = yield* Http
    const kept = [...cookies]
    cookies.clear()
    return yield* Effect.ensuring(
      use,
      Effect.sync(() => {
        cookies.clear()
        for (const [name, value] of kept) cookies.set(name, value)
      })
    )
  })

const assertPage = ({ headers }: Answer, formAction: "'none'" | "'self'") => {
  const policy = headers.get("content-security-policy") ?? ""
  for (const directive of ["default-src", "frame-ancestors", "base-uri", "object-src"]) {
    assert.include(policy, `${directive} 'none'`)
  }
  assert.include(policy, `form-action ${formAction}`)
  assert.notInclude(policy, "unsafe")
  assert.notInclude(policy, "script-src")
  const expected = {
    "cache-control": "no-store",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin"
  }
  for (const [name, value] of Object.entries(expected)) assert.strictEqual(headers.get(name), value)
  assert.isTrue(headers.has("permissions-policy"))
  assert.isFalse([...headers.keys()].some((name) => name.startsWith("access-control-")))
}

describe("GET /connect/{ticket}", () => {
  it.effect("BIND-16 shows the page, however often and to whatever looks, and changes nothing", () =>
    Effect.gen(function*() {
      const { compareCode, connectPath, status } = yield* started()
      const before = yield* rows
      for (const headers of [{}, { "user-agent": "Slackbot-LinkExpanding 1.0" }]) {
        const page = yield* elsewhere(send("GET", connectPath, { headers }))
        assert.strictEqual(page.status, 200)
        assert.include(page.text, compareCode)
        assert.isNull(page.headers.get("location"))
        assert.isNull(page.headers.get("refresh"))
        assert.notMatch(page.text, /http-equiv|<script|as\.example\/authorize/)
      }
      for (const headers of [{ "sec-purpose": "prefetch;prerender" }, { "x-moz": "prefetch" }]) {
        const ahead = yield* send("GET", connectPath, { headers: headers as Record<string, string> })
        assert.deepStrictEqual([ahead.status, cookiesOf(ahead)], [204, []])
      }
      assert.strictEqual((yield* send("HEAD", connectPath)).status, 405)
      assert.strictEqual(yield* rows, before)
      const page = yield* send("GET", connectPath)
      assert.strictEqual((yield* leave(page, connectPath)).status, 200)
      yield* send("GET", yield* answerPath)
      assert.strictEqual(yield* status, "completed")
    }).pipe(Effect.provide(layer())))

  it.effect("WEB-04 sets one cookie for the host alone, for as long as a flow lives, and keeps it over a reload", () =>
    Effect.gen(function*() {
      const { connectPath } = yield* started()
      yield* TestClock.adjust("4 minutes")
      const [line = "", ...more] = cookiesOf(yield* send("GET", connectPath))
      assert.deepStrictEqual(more, [])
      const [pair = "", ...attributes] = line.split("; ")
      assert.match(pair, /^__Host-vk_[\w-]{16}=[\w-]{43}$/)
      assert.sameMembers(attributes, ["Path=/", "Secure", "HttpOnly", "SameSite=Lax", "Max-Age=600"])
      const [again = ""] = cookiesOf(yield* send("GET", connectPath))
      assert.strictEqual(again.split("; ")[0], pair)
      const [other = ""] = cookiesOf(yield* elsewhere(send("GET", connectPath)))
      assert.notStrictEqual(other.split("; ")[0], pair)
    }).pipe(Effect.provide(layer())))

  it.effect("WEB-04 takes nothing that a sibling host can put into the browser", () =>
    Effect.gen(function*() {
      const { connectPath, status } = yield* started()
      const { cookies } = yield* Http
      // Somebody on a sibling host has opened the link, and has another browser bring their cookie and their form along.
      const theirs = yield* elsewhere(Effect.gen(function*() {
        const page = yield* send("GET", connectPath)
        const [name = "", secret = ""] = cookiesOf(page)[0]!.split("; ")[0]!.split("=")
        return { page, name, secret }
      }))
      const bare = theirs.name.slice("__Host-".length)
      // No browser lets another host set the prefix itself.
      const tossed = [bare, `__host-${bare}`, `__HOST-${bare}`, `__Secure-${bare}`, `__Secure-__Host-${bare}`]
      const before = yield* rows
      for (const name of tossed) cookies.set(name, theirs.secret)
      assert.strictEqual((yield* leave(theirs.page, connectPath)).status, 403)
      assert.strictEqual(yield* rows, before)
      // The person's own way is as if nothing had been there.
      const own = yield* send("GET", connectPath)
      assert.notStrictEqual(cookies.get(theirs.name), theirs.secret)
      assert.notStrictEqual(tokenOf(own), tokenOf(theirs.page))
      assert.strictEqual((yield* leave(theirs.page, connectPath)).status, 403)
      assert.strictEqual((yield* leave(own, connectPath)).status, 200)
      yield* send("GET", yield* answerPath)
      assert.strictEqual(yield* status, "completed")
    }).pipe(Effect.provide(layer())))

  it.effect("WEB-01 answers every request with the headers of a page that nobody frames, caches or scripts", () =>
    Effect.gen(function*() {
      const { connectPath } = yield* started()
      const page = yield* send("GET", connectPath)
      assertPage(page, "'self'")
      assert.strictEqual(page.headers.get("referrer-policy"), "same-origin")
      const others = [
        yield* send("GET", `/connect/${"A".repeat(43)}`),
        yield* send("GET", "/connect/x"),
        yield* send("PUT", connectPath),
        yield* send("POST", connectPath, { body: "token=x", headers: form }),
        yield* leave(page, connectPath),
        yield* elsewhere(send("GET", connectPath))
      ]
      assert.deepStrictEqual(others.map(({ status }) => status), [404, 404, 405, 403, 200, 403])
      for (const other of others) {
        assertPage(other, "'none'")
        assert.strictEqual(other.headers.get("referrer-policy"), "no-referrer")
      }
    }).pipe(Effect.provide(layer())))

  it.effect("BIND-18 keeps a cookie for each flow, at most ten, and forgets the one that was begun first", () =>
    Effect.gen(function*() {
      const { cookies } = yield* Http
      const names: Array<string> = []
      for (let index = 0; index < 12; index++) {
        const { connectPath } = yield* started({ sub: `ada-${index}` })
        yield* send("GET", connectPath)
        names.push([...cookies.keys()].at(-1)!)
        assert.isAtMost(cookies.size, 10)
      }
      assert.deepStrictEqual([...cookies.keys()], names.slice(2))
    }).pipe(Effect.provide(layer())))

  it.effect("BIND-18 finishes two flows of one browser, the later one first", () =>
    Effect.gen(function*() {
      const { cookies } = yield* Http
      const one = yield* started({ sub: "one" })
      const two = yield* started({ sub: "two" })
      for (const { connectPath } of [one, two]) yield* leave(yield* send("GET", connectPath), connectPath)
      assert.strictEqual(cookies.size, 2)
      for (const { callback, status } of [two, one]) {
        assert.strictEqual((yield* send("GET", callback)).status, 303)
        assert.strictEqual(yield* status, "completed")
      }
      assert.strictEqual(cookies.size, 0)
    }).pipe(Effect.provide(layer())))

  it.effect("tells how a flow ended whose link is opened once more, and knows none that was never given out", () =>
    Effect.gen(function*() {
      const { callback, connectPath, status } = yield* started()
      yield* leave(yield* send("GET", connectPath), connectPath)
      yield* send("GET", callback)
      assert.strictEqual(yield* status, "completed")
      const again = yield* send("GET", connectPath)
      assert.include(again.text, "Connected")
      assert.deepStrictEqual(cookiesOf(again), [])
      assert.include((yield* leave(again, connectPath)).text, "Connected")
      const unknown = yield* send("GET", `/connect/${"B".repeat(43)}`)
      assert.deepStrictEqual([unknown.status, cookiesOf(unknown)], [404, []])
    }).pipe(Effect.provide(layer())))
})

describe("POST /connect/{ticket}", () => {
  it.effect("WEB-03 takes the form of this page in this browser alone; anything else changes no row", () =>
    Effect.gen(function*() {
      const { callback, connectPath, status } = yield* started()
      const page = yield* send("GET", connectPath)
      const token = tokenOf(page)
      const stranger = yield* elsewhere(send("GET", connectPath))
      const before = yield* rows
      const post = (body: string, headers: Readonly<Record<string, string>>) =>
        send("POST", connectPath, { body, headers })
      const right = `token=${token}`
      const refused = [
        yield* post(right, form),
        yield* post(right, { ...form, origin: "null" }),
        yield* post(right, { ...form, origin: "https://evil.example" }),
        yield* post(right, { ...form, origin: `${publicOrigin}.evil.example` }),
        yield* post(right, { ...ours, origin: "https://evil.example" }),
        yield* post(right, { ...ours, "sec-fetch-site": "cross-site" }),
        yield* post(right, { ...ours, "sec-fetch-site": "same-site" }),
        yield* post(right, { ...ours, "sec-fetch-site": "none" }),
        yield* post("", ours),
        yield* post("token=", ours),
        yield* post(`token=${"A".repeat(43)}`, ours),
        yield* post(`token=${tokenOf(stranger)}`, ours),
        yield* post(`${right}&${right}`, ours),
        yield* post(`${right}&x=${"x".repeat(8000)}`, ours),
        yield* elsewhere(post(right, ours)),
        yield* post(right, { ...ours, cookie: "" })
      ]
      for (const [index, answer] of refused.entries()) {
        assert.strictEqual(answer.status, 403, String(index))
        assert.include(answer.text, "Nothing was changed")
        assert.notInclude(answer.text, "as.example/authorize")
      }
      assert.strictEqual(yield* rows, before)
      const departure = yield* post(right, ours)
      assert.match(departure.headers.get("refresh") ?? "", /^0; url=https:\/\/as\.example\/authorize\?/)
      yield* send("GET", callback)
      assert.strictEqual(yield* status, "completed")
    }).pipe(Effect.provide(layer())))

  it.effect("takes a browser that tells its origin or where it comes from, and need not tell both", () =>
    Effect.gen(function*() {
      const { connectPath } = yield* started()
      const body = `token=${tokenOf(yield* send("GET", connectPath))}`
      for (const headers of [{ origin: publicOrigin }, { "sec-fetch-site": "same-origin" }]) {
        const answer = yield* send("POST", connectPath, {
          body,
          headers: { ...form, ...headers } as Record<string, string>
        })
        assert.strictEqual(answer.status, 200)
      }
    }).pipe(Effect.provide(layer())))

  it.effect("BIND-03 WEB-08 gives the way on to the browser that came first, and to it again after back and reload", () =>
    Effect.gen(function*() {
      const { callback, connectPath } = yield* started()
      const mine = yield* send("GET", connectPath)
      yield* elsewhere(Effect.gen(function*() {
        const theirs = yield* send("GET", connectPath)
        const first = yield* leave(theirs, connectPath)
        assert.match(first.headers.get("refresh") ?? "", /as\.example/)
        const again = yield* send("GET", connectPath)
        assert.strictEqual(tokenOf(again), tokenOf(theirs))
        assert.strictEqual(
          (yield* leave(again, connectPath)).headers.get("refresh"),
          first.headers.get("refresh")
        )
      }))
      const before = yield* rows
      const late = yield* leave(mine, connectPath)
      assert.deepStrictEqual([late.status, late.headers.get("refresh")], [403, null])
      assert.include(late.text, "Opened elsewhere")
      const look = yield* send("GET", connectPath)
      assert.deepStrictEqual([look.status, cookiesOf(look)], [403, []])
      assert.strictEqual((yield* send("GET", callback)).status, 400)
      assert.strictEqual(yield* rows, before)
      assert.strictEqual(yield* exchanges, 0)
    }).pipe(Effect.provide(layer())))
})

describe("a callback over the gateway", () => {
  it.effect("BIND-17 is refused without the cookie, clearly and without effect, however right the rest is", () =>
    Effect.gen(function*() {
      const { callback, connectPath, status } = yield* started()
      // Nobody clicked: there is no browser that could come back.
      assert.strictEqual((yield* send("GET", callback)).status, 400)
      yield* leave(yield* send("GET", connectPath), connectPath)
      const before = yield* rows
      const framed = yield* elsewhere(send("GET", callback))
      assert.strictEqual(framed.status, 400)
      assert.include(framed.text, "finish in the same browser, with cookies allowed")
      assert.strictEqual(yield* rows, before)
      assert.strictEqual(yield* exchanges, 0)
      const done = yield* send("GET", callback)
      assert.strictEqual(done.status, 303)
      assert.match(cookiesOf(done)[0] ?? "", /^__Host-vk_[\w-]{16}=; Max-Age=0; .*Secure/)
      assert.strictEqual(yield* status, "completed")
    }).pipe(Effect.provide(layer())))
})
