import { assert, describe, it } from "@effect/vitest"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect } from "effect"
import type { RequestListener } from "node:http"
import { listen } from "../src/LoopbackServer.ts"

const site = (routes: Record<string, RequestListener>) =>
  listen((request, response) => {
    const route = routes[new URL(request.url ?? "/", "http://x").pathname]
    if (route === undefined) response.writeHead(404).end("nothing here")
    else route(request, response)
  })

describe("UserAgent", () => {
  it.live("plays cookies, redirects and forms until a page without a form", () =>
    Effect.gen(function*() {
      let posted = ""
      const { origin } = yield* site({
        "/start": (_, response) =>
          response.writeHead(302, { location: "/form", "set-cookie": "session=1; Path=/; HttpOnly" }).end(),
        "/form": (request, response) => {
          assert.strictEqual(request.headers.cookie, "session=1")
          response.end(
            `<form method="post" action="/go?a=1&amp;b=2"><input type=hidden name=csrf value="&quot;x&quot;">
             <input name="login"><button type="submit" name="decision" value="allow">Allow</button>
             <button type="submit" name="decision" value="deny">Deny</button></form>`
          )
        },
        "/go": (request, response) => {
          assert.strictEqual(request.headers.origin, origin)
          assert.strictEqual(request.url, "/go?a=1&b=2")
          request.on("data", (chunk) => posted += String(chunk))
          request.on("end", () => response.writeHead(303, { location: "/done" }).end())
        },
        "/done": (_, response) => response.end("<h1>done</h1>")
      })
      const person = UserAgent.make({ login: "bob" })
      const page = yield* person.authorize(`${origin}/start`)
      assert.strictEqual(page.body, "<h1>done</h1>")
      assert.strictEqual(posted, "csrf=%22x%22&login=bob&decision=allow")
      posted = ""
      yield* person.authorize(`${origin}/start`, { deny: true })
      assert.include(posted, "decision=deny")
    }).pipe(Effect.scoped))

  it.live("returns the callback URL without requesting it", () =>
    Effect.gen(function*() {
      const { origin } = yield* site({
        "/start": (_, response) => response.writeHead(302, { location: "/callback?code=c" }).end(),
        "/callback": () => assert.fail("requested")
      })
      const person = UserAgent.make()
      const url = yield* person.callbackUrl(`${origin}/start`, `${origin}/callback`)
      assert.strictEqual(url.search, "?code=c")
      const error = yield* Effect.flip(person.callbackUrl(`${origin}/elsewhere`, `${origin}/callback`))
      assert.include(error.message, "404")
    }).pipe(Effect.scoped))

  it.live("drops a __Host- cookie that breaks its rules, and an expired one", () =>
    Effect.gen(function*() {
      const { origin } = yield* site({
        "/": (_, response) =>
          response.writeHead(200, {
            "set-cookie": [
              "__Host-good=1; Secure; Path=/",
              "__Host-bad=1; Path=/",
              "gone=1; Max-Age=0; Path=/",
              "elsewhere=1; Path=/deep"
            ]
          }).end()
      })
      const person = UserAgent.make()
      yield* person.request(origin)
      assert.strictEqual(person.cookies.header(new URL(origin)), "__Host-good=1")
      assert.strictEqual(person.cookies.header(new URL("/deep/er", origin)), "__Host-good=1; elsewhere=1")
      assert.strictEqual(person.cookies.header(new URL("/deeper", origin)), "__Host-good=1")
    }).pipe(Effect.scoped))
})
