import { assert, describe, it } from "@effect/vitest"
import { DiscoveryError, RedemptionError } from "@valetkey/domain/AuthorizationServer"
import { failureSentence } from "@valetkey/domain/Flow"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { caller } from "./Caller.ts"
import { callbackPath, connect } from "./Consent.ts"
import { layer, returnTo } from "./Harness.ts"
import { send } from "./Http.ts"
import { issue, Script } from "./Script.ts"

const unknownFlow = "/v1/flows/018f0000-0000-7000-8000-000000000000"

describe("POST /v1/flows", () => {
  it.effect("S2.7 S2.9 gives a URL for the person, with or without what is optional", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const answer = yield* ada.post("/v1/flows", { server: "notes" })
      assert.strictEqual(answer.status, 201)
      assert.deepStrictEqual(Object.keys(answer.json).toSorted(), [
        "compareCode",
        "connectUrl",
        "expiresAt",
        "flowId",
        "handOffs",
        "status",
        "transport"
      ])
      assert.strictEqual(answer.json["status"], "pending")
      assert.match(String(answer.json["connectUrl"]), /^https:\/\/valetkey\.example\/connect\/[\w-]{43}$/)
      assert.match(String(answer.json["compareCode"]), /^[B-Z]{4}-[B-Z]{4}$/)
      assert.strictEqual(answer.headers.get("cache-control"), "no-store")
      const grace = yield* caller({ sub: "grace" })
      const chosen = yield* grace.post("/v1/flows", {
        server: "notes",
        transport: "loopback",
        scopes: ["notes.write"],
        onConflict: "supersede",
        reauthorize: true,
        confirmation: "finalize",
        returnTo
      })
      assert.strictEqual(chosen.status, 201)
      assert.match(String(chosen.json["authorizationUrl"]), /^https:\/\/as\.example\/authorize\?/)
      assert.notProperty(chosen.json, "connectUrl")
      assert.strictEqual(chosen.json["transport"], "loopback")
    }).pipe(Effect.provide(layer())))

  it.effect("S2.8 refuses a transport that is no word of ours, and one that this server does not offer", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const unknown = yield* ada.post("/v1/flows", { server: "notes", transport: "pigeon" })
      assert.strictEqual(unknown.status, 400)
      assert.strictEqual(unknown.json["code"], "invalid_request")
      assert.deepInclude(JSON.stringify(unknown.json["errors"]), "[\"payload\",\"transport\"]")
      assert.notInclude(unknown.text, "pigeon")
      const missing = yield* ada.post("/v1/flows", { server: "notes", transport: "paste" })
      assert.strictEqual(missing.status, 422)
      assert.strictEqual(missing.json["code"], "transport_unavailable")
    }).pipe(Effect.provide(layer())))

  it.effect("S1x.9 answers a second start with 409, a fixed sentence and the flow that is open", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const first = yield* ada.post("/v1/flows", { server: "notes" })
      const second = yield* ada.post("/v1/flows", { server: "notes" })
      assert.strictEqual(second.status, 409)
      assert.strictEqual(second.json["code"], "flow_conflict")
      assert.strictEqual(second.json["running"], first.json["flowId"])
      assert.strictEqual(
        second.json["detail"],
        "A flow of this connection is still open; wait for it, cancel it, or start with onConflict join or supersede"
      )
      const joined = yield* ada.post("/v1/flows", { server: "notes", onConflict: "join" })
      assert.strictEqual(joined.status, 200)
      assert.strictEqual(joined.json["joined"], true)
      assert.strictEqual(joined.json["flowId"], first.json["flowId"])
      for (const secret of ["authorizationUrl", "connectUrl", "compareCode"]) assert.notProperty(joined.json, secret)
    }).pipe(Effect.provide(layer())))

  it.effect("S2.10 passes the error of the use case on with its sentence and status", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const script = yield* Script
      script.discovery = new DiscoveryError({ code: "registration_unsupported", cause: "secret detail" })
      const refused = yield* ada.post("/v1/flows", { server: "notes" })
      assert.strictEqual(refused.status, 422)
      assert.strictEqual(refused.json["code"], "registration_unsupported")
      assert.strictEqual(refused.json["detail"], script.discovery.message)
      assert.notInclude(refused.text, "secret detail")
      const nowhere = yield* ada.post("/v1/flows", { server: "nowhere" })
      assert.strictEqual(nowhere.status, 404)
      assert.strictEqual(nowhere.json["code"], "server_not_found")
    }).pipe(Effect.provide(layer())))

  it.effect("S2.11 answers at once without a URL when the connection is there", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      yield* connect(ada)
      const again = yield* ada.post("/v1/flows", { server: "notes" })
      assert.strictEqual(again.status, 200)
      assert.strictEqual(again.json["alreadyConnected"], true)
      assert.notInclude(again.text, "authorize")
    }).pipe(Effect.provide(layer())))
})

describe("GET /v1/flows/{flowId}", () => {
  it.effect("S2.13 S2.15 S2.16 goes from pending to completed and then names the connection", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const started = yield* ada.post("/v1/flows", { server: "notes" })
      const path = `/v1/flows/${String(started.json["flowId"])}`
      assert.strictEqual((yield* ada.get(path)).json["status"], "pending")
      yield* send("GET", yield* callbackPath)
      const settled = yield* ada.get(`${path}?wait=30`)
      assert.strictEqual(settled.json["status"], "completed")
      assert.strictEqual(settled.json["server"], "notes")
      assert.property(settled.json, "settledAt")
      assert.notInclude(settled.text, "https://as.example/authorize")
      const connection = settled.json["connection"] as { readonly scopes: ReadonlyArray<string> }
      assert.deepStrictEqual(connection.scopes, ["notes.read"])
    }).pipe(Effect.provide(layer())))

  it.effect("S2.15 tells a failure by its code and its fixed sentence", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const script = yield* Script
      script.exchange = () =>
        Effect.fail(
          new RedemptionError({ reason: { _tag: "Terminal", error: "invalid_grant" }, cause: "provider said no" })
        )
      const { settled } = yield* connect(ada)
      assert.strictEqual(settled.json["status"], "failed")
      assert.deepStrictEqual(settled.json["failure"], {
        code: "code_rejected",
        message: failureSentence.code_rejected
      })
      assert.notInclude(settled.text, "provider said no")
    }).pipe(Effect.provide(layer())))

  it.effect("S2.14 keeps two flows apart", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const grace = yield* caller({ sub: "grace" })
      const waiting = yield* ada.post("/v1/flows", { server: "notes" })
      const { settled } = yield* connect(grace)
      assert.strictEqual(settled.json["status"], "completed")
      const still = yield* ada.get(`/v1/flows/${String(waiting.json["flowId"])}`)
      assert.strictEqual(still.json["status"], "pending")
    }).pipe(Effect.provide(layer())))

  it.effect("S2.17 grants the same scopes when the exchange waits for finalize", () =>
    Effect.gen(function*() {
      const script = yield* Script
      script.exchange = Effect.fnUntraced(function*(n: number) {
        const { scopes: _, ...silent } = yield* issue(n)
        return silent
      })
      const scopes = (settled: { readonly json: { readonly [name: string]: unknown } }) =>
        (settled.json["connection"] as { readonly scopes?: ReadonlyArray<string> }).scopes
      const direct = yield* connect(yield* caller(), { scopes: ["notes.write"] })
      const grace = yield* caller({ sub: "grace" })
      const started = yield* grace.post("/v1/flows", {
        server: "notes",
        scopes: ["notes.write"],
        confirmation: "finalize",
        returnTo
      })
      const path = `/v1/flows/${String(started.json["flowId"])}`
      const back = new URL((yield* send("GET", yield* callbackPath)).headers.get("location")!)
      assert.strictEqual((yield* grace.get(path)).json["status"], "awaiting_finalize")
      const completionCode = back.searchParams.get("completion_code")
      const deferred = yield* grace.post(`${path}/finalize`, { completionCode })
      assert.strictEqual(deferred.json["status"], "completed")
      assert.deepStrictEqual(scopes(deferred), ["notes.write"])
      assert.deepStrictEqual(scopes(direct.settled), ["notes.write"])
    }).pipe(Effect.provide(layer())))

  it.effect("S1x.9 S2.18 S4.69 FLOW-24 API-02 answers an unknown, a malformed and a foreign flow alike", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const started = yield* ada.post("/v1/flows", { server: "notes" })
      const path = `/v1/flows/${String(started.json["flowId"])}`
      const strangers = [yield* caller({ sub: "grace" }), yield* caller({ tenant: "rival" })]
      const answers = [yield* ada.get(unknownFlow), yield* ada.get("/v1/flows/nope"), yield* ada.delete(unknownFlow)]
      for (const stranger of strangers) {
        answers.push(yield* stranger.get(path), yield* stranger.get(`${path}?wait=5`), yield* stranger.delete(path))
        answers.push(yield* stranger.post(`${path}/finalize`, { completionCode: "guessed" }))
      }
      const bodies = answers.map(({ json: { correlationId: _, ...body }, status }) => JSON.stringify({ status, body }))
      assert.strictEqual(new Set(bodies).size, 1, bodies.join("\n"))
      assert.strictEqual(answers[0]!.status, 404)
      assert.strictEqual(answers[0]!.json["code"], "flow_not_found")
      assert.strictEqual((yield* ada.get(path)).json["status"], "pending")
    }).pipe(Effect.provide(layer())))

  it.effect("S2.18 S2.19 reads as expired after its time, and is gone when its retention ends", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const housekeeping = yield* Housekeeping
      const first = yield* ada.post("/v1/flows", { server: "notes" })
      const path = `/v1/flows/${String(first.json["flowId"])}`
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual((yield* ada.get(path)).json["status"], "expired")
      yield* ada.post("/v1/flows", { server: "notes" })
      yield* TestClock.adjust("2 days")
      yield* housekeeping.sweep
      assert.strictEqual((yield* ada.get(path)).status, 404)
    }).pipe(Effect.provide(layer())))

  it.effect("waits for the flow to settle, and no longer than it was asked", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const started = yield* ada.post("/v1/flows", { server: "notes" })
      const path = `/v1/flows/${String(started.json["flowId"])}`
      const bounded = yield* Effect.forkChild(ada.get(`${path}?wait=5`))
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(bounded)).json["status"], "pending")
      const waiter = yield* Effect.forkChild(ada.get(`${path}?wait=60`))
      yield* send("GET", yield* callbackPath)
      assert.strictEqual((yield* Fiber.join(waiter)).json["status"], "completed")
      assert.strictEqual((yield* ada.get(`${path}?wait=61`)).status, 400)
      assert.strictEqual((yield* ada.get(`${path}?wait=soon`)).status, 400)
    }).pipe(Effect.provide(layer())))
})

describe("DELETE /v1/flows/{flowId}", () => {
  it.effect("S1x.9 FLOW-20 cancels once and stays 204 with an empty body", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const script = yield* Script
      const started = yield* ada.post("/v1/flows", { server: "notes" })
      const path = `/v1/flows/${String(started.json["flowId"])}`
      const late = yield* callbackPath
      for (const _ of [1, 2]) {
        const answer = yield* ada.delete(path)
        assert.strictEqual(answer.status, 204)
        assert.strictEqual(answer.text, "")
      }
      yield* send("GET", late)
      assert.strictEqual((yield* ada.get(path)).json["status"], "cancelled")
      assert.notInclude(script.calls, "server.exchange")
      const done = yield* connect(ada)
      assert.strictEqual((yield* ada.delete(`/v1/flows/${done.flowId}`)).status, 204)
      assert.strictEqual((yield* ada.get(`/v1/flows/${done.flowId}`)).json["status"], "completed")
    }).pipe(Effect.provide(layer())))
})
