import { assert, describe, it } from "@effect/vitest"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect, Redacted } from "effect"
import { appUrl, consented, installed } from "./support/People.ts"

describe("whoever finishes is who started", () => {
  it.live("I9 BIND-01 BIND-02 WEB-08 a victim who consents to somebody else's flow connects nothing, and it stays as it was", () =>
    Effect.scoped(Effect.gen(function*() {
      const { exchanges, mallory, rows, victim } = yield* installed
      const flow = yield* mallory.start()
      const authorizationUrl = yield* mallory.browser.leave(flow.connectUrl)
      const callback = yield* consented(victim.browser, authorizationUrl)
      const before = yield* rows
      for (const person of [victim, { browser: UserAgent.make() }]) {
        const page = yield* person.browser.request(callback)
        assert.strictEqual(page.status, 400)
        assert.include(page.body, "Nothing was changed")
      }
      assert.deepStrictEqual(yield* rows, before)
      assert.strictEqual(exchanges(), 0)
      assert.strictEqual(yield* mallory.connection, 404)

      const own = yield* consented(mallory.browser, authorizationUrl)
      const [first, again] = [yield* mallory.browser.request(own), yield* mallory.browser.request(own)]
      assert.deepStrictEqual([first.status, again.status], [303, 303])
      assert.strictEqual((yield* flow.settled)["status"], "completed")
      const done = yield* mallory.browser.request(new URL(again.headers.get("location") ?? "", own))
      assert.include(done.body, "Connected")
      assert.strictEqual(exchanges(), 1)
      assert.strictEqual(yield* victim.connection, 404)
    })))

  it.live("BIND-03 a link that was taken leads no other browser anywhere, and the first one to its end", () =>
    Effect.scoped(Effect.gen(function*() {
      const { exchanges, mallory, rows, victim } = yield* installed
      const flow = yield* mallory.start()
      const untouched = yield* rows
      const waiting = yield* victim.browser.request(flow.connectUrl)
      assert.strictEqual(waiting.status, 200)
      // What a person who was sent the link sees before anything is bound: whose it is, and a code that nobody showed them.
      for (const told of ["mallory", "acme", flow.compareCode]) assert.include(waiting.body, told)
      assert.isNull(waiting.headers.get("refresh"))
      assert.deepStrictEqual(yield* rows, untouched)
      const authorizationUrl = yield* mallory.browser.leave(flow.connectUrl)
      const before = yield* rows
      const token = /name="token" value="([^"]+)"/.exec(waiting.body)?.[1] ?? ""
      const late = yield* victim.browser.request(flow.connectUrl, {
        method: "POST",
        headers: { origin: waiting.url.origin, "content-type": "application/x-www-form-urlencoded" },
        body: `token=${token}`
      })
      assert.strictEqual(late.status, 403)
      assert.include(late.body, "Opened elsewhere")
      assert.strictEqual((yield* victim.browser.request(flow.connectUrl)).status, 403)
      assert.deepStrictEqual(yield* rows, before)
      yield* mallory.browser.request(yield* consented(mallory.browser, authorizationUrl))
      assert.strictEqual((yield* flow.settled)["status"], "completed")
      assert.strictEqual(exchanges(), 1)
    })))

  it.live("BIND-05 a code of the attacker's in the victim's flow and browser is refused by PKCE, and attaches nothing", () =>
    Effect.scoped(Effect.gen(function*() {
      const { exchanges, mallory, victim } = yield* installed
      const theirs = yield* mallory.start()
      const stolen = yield* consented(mallory.browser, yield* mallory.browser.leave(theirs.connectUrl))
      const flow = yield* victim.start()
      const callback = yield* consented(victim.browser, yield* victim.browser.leave(flow.connectUrl))
      callback.searchParams.set("code", stolen.searchParams.get("code") ?? "")
      yield* victim.browser.request(callback)
      assert.deepInclude((yield* flow.settled)["failure"], { code: "code_rejected" })
      assert.strictEqual(exchanges(), 1)
      assert.strictEqual(yield* victim.connection, 404)
      assert.strictEqual((yield* theirs.settled)["status"], "pending")

      const again = yield* victim.start()
      yield* victim.browser.request(
        yield* consented(victim.browser, yield* victim.browser.leave(again.connectUrl))
      )
      assert.strictEqual((yield* again.settled)["status"], "completed")
      assert.deepStrictEqual([yield* victim.connection, yield* mallory.connection], [200, 404])
    })))

  it.live("BIND-06 BIND-09 BIND-12 a response at the path of another server or tenant matches nothing", () =>
    Effect.scoped(Effect.gen(function*() {
      const { exchanges, person, rows, victim } = yield* installed
      const rival = person("victim", "rival")
      yield* rival.describe("fake")
      yield* victim.describe("other").pipe(
        Effect.andThen(person("mallory").describe("other"))
      )
      const flow = yield* victim.start()
      const callback = yield* consented(victim.browser, yield* victim.browser.leave(flow.connectUrl))
      const paths = new Set([callback.pathname])
      for (const [caller, server] of [[victim, "other"], [rival, "fake"]] as const) {
        const other = yield* caller.start({ server })
        const url = yield* caller.browser.leave(other.connectUrl)
        const foreign = new URL(url.searchParams.get("redirect_uri") ?? "")
        assert.isFalse(paths.has(foreign.pathname))
        paths.add(foreign.pathname)
        const before = yield* rows
        const moved = new URL(callback)
        moved.pathname = foreign.pathname
        for (const { browser } of [victim, rival]) assert.strictEqual((yield* browser.request(moved)).status, 400)
        assert.deepStrictEqual(yield* rows, before)
      }
      assert.strictEqual(exchanges(), 0)
      assert.strictEqual((yield* victim.browser.request(callback)).status, 303)
      assert.strictEqual((yield* flow.settled)["status"], "completed")
      assert.strictEqual(yield* victim.connection, 200)
      assert.strictEqual(yield* rival.connection, 404)
    })))

  it.live("BIND-04 FLOW-34 an application's flow waits for the completion code that the finishing user's browser brought", () =>
    Effect.scoped(Effect.gen(function*() {
      const { exchanges, mallory, rows, victim } = yield* installed
      const finalized = { server: "fake", confirmation: "finalize", returnTo: appUrl }
      for (const returnTo of ["https://evil.example/", `${appUrl}.evil.example`, `${appUrl}/`, "//evil.example"]) {
        const refused = yield* mallory.call("POST", "/v1/flows", { ...finalized, returnTo })
        assert.deepStrictEqual([refused.status, refused.body["code"]], [422, "return_url_unregistered"])
      }
      const flow = yield* mallory.start(finalized)
      assert.strictEqual(flow.connectUrl, "undefined")
      const early = yield* mallory.call("POST", `/v1/flows/${flow.flowId}/finalize`, { completionCode: "early" })
      assert.deepStrictEqual([early.status, early.body["code"]], [409, "flow_not_ready"])
      // The victim consents; the code goes to the application in the victim's browser.
      const arrived = yield* victim.browser.callbackUrl(flow.authorizationUrl, appUrl)
      const completionCode = arrived.searchParams.get("completion_code")
      assert.strictEqual(arrived.searchParams.get("flow_id"), flow.flowId)
      assert.deepStrictEqual([...arrived.searchParams.keys()], ["flow_id", "completion_code"])
      const before = yield* rows
      const guessed = yield* mallory.call("POST", `/v1/flows/${flow.flowId}/finalize`, {
        completionCode: "A".repeat(43)
      })
      assert.deepStrictEqual([guessed.status, guessed.body["code"]], [403, "completion_code_invalid"])
      const asVictim = yield* victim.call("POST", `/v1/flows/${flow.flowId}/finalize`, { completionCode })
      assert.deepStrictEqual([asVictim.status, asVictim.body["code"]], [404, "flow_not_found"])
      assert.deepStrictEqual(yield* rows, before)
      assert.strictEqual(exchanges(), 0)

      const own = yield* victim.start(finalized)
      const back = yield* victim.browser.callbackUrl(own.authorizationUrl, appUrl)
      const done = yield* victim.call("POST", `/v1/flows/${own.flowId}/finalize`, {
        completionCode: back.searchParams.get("completion_code")
      })
      assert.deepStrictEqual([done.status, done.body["status"]], [200, "completed"])
      assert.strictEqual(exchanges(), 1)
      assert.deepStrictEqual([yield* victim.connection, yield* mallory.connection], [200, 404])
    })))

  it.live("FLOW-04 BIND-04 a response that a browser sends twice leads to the application twice, and state alone never does", () =>
    Effect.scoped(Effect.gen(function*() {
      const { exchanges, mallory, rows, victim } = yield* installed
      const flow = yield* mallory.start({ server: "fake", confirmation: "finalize", returnTo: appUrl })
      const callback = yield* consented(victim.browser, flow.authorizationUrl)
      const [first, again] = [yield* victim.browser.request(callback), yield* victim.browser.request(callback)]
      assert.deepStrictEqual([first.status, again.status], [303, 303])
      assert.strictEqual(first.headers.get("location")?.split("?")[0], appUrl)
      assert.strictEqual(again.headers.get("location"), first.headers.get("location"))
      const before = yield* rows
      // Mallory has the URL that the victim was sent to, and so everything of the response but its code.
      const forged = new URL(callback)
      forged.searchParams.set("code", "guessed")
      const told = yield* mallory.browser.request(forged)
      assert.match(told.headers.get("location") ?? "", /^\/done\/[\w-]+$/)
      assert.notInclude(told.body, "completion_code")
      assert.deepStrictEqual(yield* rows, before)
      assert.strictEqual(exchanges(), 0)
    })))

  it.live("FLOW-18 a reader of the database finds nothing that finishes a flow", () =>
    Effect.scoped(Effect.gen(function*() {
      const { dump, provider, victim } = yield* installed
      const flow = yield* victim.start()
      const fresh = yield* dump
      const authorizationUrl = yield* victim.browser.leave(flow.connectUrl)
      const bound = yield* dump
      const callback = yield* consented(victim.browser, authorizationUrl)
      const secrets = [
        flow.connectUrl.split("/").at(-1) ?? "",
        authorizationUrl.searchParams.get("state") ?? "",
        ...victim.browser.cookies.all().filter(([name]) => name.startsWith("__Host-vk_")).map(([, value]) => value)
      ]
      yield* victim.browser.request(callback)
      assert.strictEqual((yield* flow.settled)["status"], "completed")
      secrets.push(provider.requests("token")[0]?.form.get("code_verifier") ?? "")
      const own = yield* victim.start({ server: "fake", confirmation: "finalize", returnTo: appUrl, reauthorize: true })
      const back = yield* victim.browser.callbackUrl(own.authorizationUrl, appUrl)
      const held = yield* dump
      secrets.push(back.searchParams.get("completion_code") ?? "", callback.searchParams.get("code") ?? "")
      assert.strictEqual(secrets.length, 6)
      for (const secret of secrets) {
        assert.isAtLeast(secret.length, 20)
        for (const rows of [fresh, bound, held]) assert.notInclude(rows, secret)
      }
    })))

  it.live("FLOW-30 the redirect URI of the exchange is the one of the start, whatever the configuration says by then", () =>
    Effect.scoped(Effect.gen(function*() {
      const { moved, provider, victim } = yield* installed
      const flow = yield* victim.start()
      const authorizationUrl = yield* victim.browser.leave(flow.connectUrl)
      const callback = yield* consented(victim.browser, authorizationUrl)
      const elsewhere = yield* moved
      const page = yield* victim.browser.request(new URL(callback.pathname + callback.search, elsewhere))
      assert.strictEqual(page.status, 303)
      assert.strictEqual((yield* flow.settled)["status"], "completed")
      const asked = authorizationUrl.searchParams.get("redirect_uri") ?? ""
      assert.notStrictEqual(new URL(asked).origin, elsewhere)
      assert.strictEqual(provider.requests("token")[0]?.form.get("redirect_uri"), asked)
    })))

  it.live("FLOW-31 tokens in an authorization response are no code and connect nothing", () =>
    Effect.scoped(Effect.gen(function*() {
      const { exchanges, provider, victim } = yield* installed
      const { accessToken, refreshToken } = provider.grant()
      const flow = yield* victim.start()
      const callback = yield* consented(victim.browser, yield* victim.browser.leave(flow.connectUrl))
      callback.searchParams.delete("code")
      callback.searchParams.set("access_token", Redacted.value(accessToken))
      callback.searchParams.set("id_token", "e30.e30.")
      callback.searchParams.set("refresh_token", Redacted.value(refreshToken))
      assert.strictEqual((yield* victim.browser.request(callback)).status, 303)
      assert.deepInclude((yield* flow.settled)["failure"], { code: "malformed_response" })
      assert.strictEqual(yield* victim.connection, 404)
      assert.strictEqual(exchanges(), 0)
    })))
})
