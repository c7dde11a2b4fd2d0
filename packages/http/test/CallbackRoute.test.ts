import { assert, describe, it } from "@effect/vitest"
import { failureSentence } from "@valetkey/domain/Flow"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { StoreError } from "@valetkey/domain/StoreError"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import { Deferred, Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import * as JwtAuthenticator from "../src/JwtAuthenticator.ts"
import { Readiness } from "../src/Readiness.ts"
import * as Routes from "../src/Routes.ts"
import { caller, jwt } from "./Caller.ts"
import { callbackPath, connect } from "./Consent.ts"
import { layer, layerWorld } from "./Harness.ts"
import { layerHttp, send } from "./Http.ts"
import { issue, publicOrigin, Script } from "./Script.ts"

const start = Effect.fnUntraced(function*() {
  const ada = yield* caller()
  const started = yield* ada.post("/v1/flows", { server: "notes" })
  const path = `/v1/flows/${String(started.json["flowId"])}`
  return { ada, path, callback: yield* callbackPath, status: Effect.map(ada.get(path), ({ json }) => json["status"]) }
})

const exchanges = Effect.map(Script, ({ calls }) => calls.filter((call) => call === "server.exchange").length)
const assertPage = (headers: Headers) => {
  const policy = headers.get("content-security-policy") ?? ""
  for (const directive of ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "object-src 'none'"]) {
    assert.include(policy, directive)
  }
  assert.notInclude(policy, "script-src")
  assert.notInclude(policy, "unsafe")
  assert.strictEqual(headers.get("cache-control"), "no-store")
  assert.strictEqual(headers.get("referrer-policy"), "no-referrer")
  assert.strictEqual(headers.get("x-content-type-options"), "nosniff")
  assert.strictEqual(headers.get("x-frame-options"), "DENY")
  assert.strictEqual(headers.get("cross-origin-opener-policy"), "same-origin")
  assert.isTrue(headers.has("permissions-policy"))
  assert.isFalse([...headers.keys()].some((name) => name.startsWith("access-control-")))
}

describe("GET /callback/{context}", () => {
  it.effect("FLOW-34 FLOW-35 takes the response and sends the browser to an address without code and state", () =>
    Effect.gen(function*() {
      const { ada, callback, path } = yield* start()
      const answer = yield* send("GET", `${callback}&returnTo=https%3A%2F%2Fevil.example`, {
        headers: { referer: "https://evil.example/", host: "evil.example" }
      })
      assert.strictEqual(answer.status, 303)
      assert.strictEqual(answer.text, "")
      assertPage(answer.headers)
      const location = answer.headers.get("location")!
      assert.match(location, /^\/done\/[A-Za-z0-9_-]{43}$/)
      assert.notInclude(location, new URL(callback, "http://localhost").searchParams.get("state")!)
      assert.strictEqual((yield* ada.get(`${path}?wait=30`)).json["status"], "completed")
      const done = yield* send("GET", location)
      assert.strictEqual(done.status, 200)
      assert.include(done.text, "<h1>Connected</h1>")
      assert.notInclude(done.text, "notes")
    }).pipe(Effect.provide(layer())))

  it.effect("FLOW-07 leaves the flow alone on HEAD", () =>
    Effect.gen(function*() {
      const { callback, status } = yield* start()
      assert.strictEqual((yield* send("HEAD", callback)).status, 405)
      assert.strictEqual(yield* status, "pending")
      assert.strictEqual((yield* send("GET", callback)).status, 303)
    }).pipe(Effect.provide(layer())))

  it.effect("FLOW-08 leaves the flow alone when a browser looks ahead", () =>
    Effect.gen(function*() {
      const { ada, callback, path, status } = yield* start()
      const ahead: ReadonlyArray<Readonly<Record<string, string>>> = [
        { "sec-purpose": "prefetch;prerender" },
        { purpose: "prefetch" },
        { "x-moz": "prefetch" },
        { "x-purpose": "preview" }
      ]
      for (const headers of ahead) assert.strictEqual((yield* send("GET", callback, { headers })).status, 204)
      assert.strictEqual(yield* exchanges, 0)
      assert.strictEqual(yield* status, "pending")
      yield* send("GET", callback)
      assert.strictEqual((yield* ada.get(`${path}?wait=30`)).json["status"], "completed")
    }).pipe(Effect.provide(layer())))

  it.effect("FLOW-09 takes GET alone and answers no other origin", () =>
    Effect.gen(function*() {
      const { callback, status } = yield* start()
      for (const method of ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"]) {
        const answer = yield* send(method, callback, { headers: { origin: "https://evil.example" } })
        assert.strictEqual(answer.status, 405)
        assert.strictEqual(answer.headers.get("allow"), "GET")
        assertPage(answer.headers)
      }
      assert.strictEqual(yield* status, "pending")
    }).pipe(Effect.provide(layer())))

  it.effect("EXT-07 takes no response in a form or in a token that nobody asked for", () =>
    Effect.gen(function*() {
      const { ada, callback, path, status } = yield* start()
      const { pathname, searchParams } = new URL(callback, "http://localhost")
      const posted = yield* send("POST", pathname, {
        headers: { "content-type": "application/x-www-form-urlencoded" },
        body: searchParams.toString()
      })
      assert.strictEqual(posted.status, 405)
      const parts = [{ alg: "none" }, Object.fromEntries(searchParams)].map((part) =>
        Buffer.from(JSON.stringify(part)).toString("base64url")
      )
      const token = yield* send("GET", `${pathname}?response=${parts.join(".")}.`)
      assert.strictEqual(token.status, 400)
      assert.strictEqual(yield* status, "pending")
      yield* send("GET", callback)
      assert.strictEqual((yield* ada.get(`${path}?wait=30`)).json["status"], "completed")
    }).pipe(Effect.provide(layer())))

  it.effect("FLOW-01 FLOW-02 FLOW-10 FLOW-15 S2.14 S2x.1 refuses what does not belong to the flow, and changes nothing", () =>
    Effect.gen(function*() {
      const { ada, callback, path, status } = yield* start()
      const { pathname, searchParams } = new URL(callback, "http://localhost")
      const [state, code] = [searchParams.get("state")!, searchParams.get("code")!]
      const { flows } = yield* MemoryWorld
      const before = JSON.stringify([...flows.values()])
      const refused = [
        pathname,
        `${pathname}?code=${code}`,
        `${pathname}?state=&code=${code}`,
        `${pathname}?state=${"A".repeat(43)}&code=${code}`,
        `${pathname}?state=${state.slice(0, 31)}&code=${code}`,
        `${pathname}?state=${state}&state=X&code=${code}`,
        `${pathname}?state=X&state=${state}&code=${code}`,
        `${pathname}?state=${state}&code=${code}&code=${code}`,
        `${pathname}?state=${state}&code=${code}&iss=a&iss=b`,
        `${pathname}?state=${state}&error=a&error=b`,
        `${pathname}?state=${"s".repeat(1025)}&code=${code}`,
        `${pathname}?state=${state}&code=${"c".repeat(16_385)}`,
        `/callback/${"B".repeat(43)}?state=${state}&code=${code}`,
        `${pathname}?error=access_denied`,
        `${pathname}?error=access_denied&state=wrong`
      ]
      for (const url of refused) {
        const answer = yield* send("GET", url)
        assert.strictEqual(answer.status, 400, url)
        assert.include(answer.text, "Nothing was changed")
        assert.notInclude(answer.text, "access_denied")
        assertPage(answer.headers)
      }
      assert.strictEqual((yield* send("GET", `${pathname}?state=${state}&x=${"x".repeat(33_000)}`)).status, 414)
      assert.strictEqual(JSON.stringify([...flows.values()]), before)
      assert.strictEqual(yield* exchanges, 0)
      assert.strictEqual(yield* status, "pending")
      yield* send("GET", callback)
      assert.strictEqual((yield* ada.get(`${path}?wait=30`)).json["status"], "completed")
    }).pipe(Effect.provide(layer())))

  it.effect("FLOW-04 WEB-08 posts the code once, however often the browser comes back", () =>
    Effect.gen(function*() {
      const { ada, callback, path } = yield* start()
      const first = yield* send("GET", callback)
      yield* ada.get(`${path}?wait=30`)
      for (const _ of [1, 2, 3]) {
        const again = yield* send("GET", callback)
        assert.strictEqual(again.headers.get("location"), first.headers.get("location"))
        assert.include((yield* send("GET", first.headers.get("location")!)).text, "Connected")
      }
      assert.strictEqual(yield* exchanges, 1)
      assert.strictEqual((yield* ada.get("/v1/connections/notes")).json["status"], "active")
    }).pipe(Effect.provide(layer())))

  it.effect("FLOW-13 FLOW-14 WEB-02 shows a refusal in our own words and nothing of the provider's", () =>
    Effect.gen(function*() {
      const { ada, callback, path } = yield* start()
      const url = new URL(callback, "http://localhost")
      url.searchParams.delete("code")
      url.searchParams.set("error", "access_denied")
      url.searchParams.set("error_description", "<img src=x onerror=alert(1)>\u001b[31m")
      url.searchParams.set("error_uri", "javascript:alert(1)")
      const answer = yield* send("GET", url.pathname + url.search)
      const done = yield* send("GET", answer.headers.get("location")!)
      assert.include(done.text, failureSentence.access_denied)
      for (const trace of ["<img", "onerror", "javascript", "\u001b"]) assert.notInclude(done.text, trace)
      const settled = yield* ada.get(path)
      assert.deepInclude(settled.json["failure"], { code: "access_denied" })
      assert.notInclude(settled.text, "onerror")
    }).pipe(Effect.provide(layer())))

  it.effect("FLOW-19 does not exchange after the flow has expired", () =>
    Effect.gen(function*() {
      const { callback, status } = yield* start()
      yield* TestClock.adjust("10 minutes")
      yield* send("GET", callback)
      assert.strictEqual(yield* exchanges, 0)
      assert.strictEqual(yield* status, "expired")
    }).pipe(Effect.provide(layer())))

  it.effect("S2x.3 DB-02 lets the same response succeed after the store was away", () => {
    let away = true
    const flaky = Layer.effect(
      FlowStore,
      Effect.map(FlowStore, (store) =>
        FlowStore.of({
          ...store,
          claim: (input) =>
            away
              ? Effect.fail(new StoreError({ code: "store_unavailable", operation: "claim" }))
              : store.claim(input)
        }))
    )
    return Effect.gen(function*() {
      const { ada, callback, path } = yield* start()
      const answer = yield* send("GET", callback)
      assert.strictEqual(answer.status, 503)
      assert.include(answer.text, "Reload this page")
      assert.notInclude(answer.text, "store")
      away = false
      assert.strictEqual((yield* send("GET", callback)).status, 303)
      assert.strictEqual((yield* ada.get(`${path}?wait=30`)).json["status"], "completed")
    }).pipe(Effect.provide(
      layerHttp(Layer.mergeAll(Routes.layerApi(), Routes.layerPublic({ origin: publicOrigin }))).pipe(
        Layer.provide([JwtAuthenticator.layerSecret(jwt), Readiness.layerAlways]),
        Layer.provideMerge(layerWorld({ flowStore: flaky }))
      )
    ))
  })
})

describe("GET /done/{opaque}", () => {
  it.effect("waits for the exchange, and asks the browser to come back when it takes longer", () =>
    Effect.gen(function*() {
      const script = yield* Script
      const gate = yield* Deferred.make<void>()
      script.exchange = (n) => Effect.andThen(Deferred.await(gate), issue(n))
      const { callback } = yield* start()
      const done = (yield* send("GET", callback)).headers.get("location")!
      const early = yield* Effect.forkChild(send("GET", done))
      yield* TestClock.adjust("8 seconds")
      const waiting = yield* Fiber.join(early)
      assert.include(waiting.text, "One moment")
      assert.strictEqual(waiting.headers.get("refresh"), "1")
      const late = yield* Effect.forkChild(send("GET", done))
      yield* Deferred.succeed(gate, undefined)
      assert.include((yield* Fiber.join(late)).text, "Connected")
    }).pipe(Effect.provide(layer())))

  it.effect("WEB-01 WEB-07 WEB-09 tells nothing for an address that was never given out, on a page that runs nothing", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const { done, flowId } = yield* connect(ada)
      for (const path of [`/done/${"A".repeat(43)}`, `/done/${flowId}`, "/done/x", "/done/%3Cscript%3E"]) {
        const answer = yield* send("GET", path)
        assert.strictEqual(answer.status, 404)
        assert.notInclude(answer.text, "script")
        assertPage(answer.headers)
      }
      for (const path of [done, "/docs"]) {
        const page = yield* send("GET", path)
        assert.strictEqual(page.status, 200)
        assertPage(page.headers)
        assert.notMatch(page.text, /<script|<link|<img|<iframe| src=|https?:\/\//)
      }
    }).pipe(Effect.provide(layer())))

  it.effect("sends a browser to the path that the public URL has", () =>
    Effect.gen(function*() {
      const { callback } = yield* start()
      assert.match((yield* send("GET", callback)).headers.get("location")!, /^\/broker\/done\//)
    }).pipe(Effect.provide(
      layerHttp(Layer.mergeAll(Routes.layerApi(), Routes.layerPublic({ origin: publicOrigin, basePath: "/broker" })))
        .pipe(
          Layer.provide([JwtAuthenticator.layerSecret(jwt), Readiness.layerAlways]),
          Layer.provideMerge(layerWorld())
        )
    )))
})
