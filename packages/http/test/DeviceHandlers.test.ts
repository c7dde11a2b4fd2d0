import { assert, describe, it } from "@effect/vitest"
import { DiscoveryError } from "@valetkey/domain/AuthorizationServer"
import { Effect } from "effect"
import { caller } from "./Caller.ts"
import { callbackPath } from "./Consent.ts"
import { layer, returnTo } from "./Harness.ts"
import { send } from "./Http.ts"
import { Script } from "./Script.ts"

const device = { server: "notes", transport: "device" }

describe("the device transport over HTTP", () => {
  it.effect("EXT-01 S2.7 gives a code and a page to whoever starts, and nothing of it to whoever looks later", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const started = yield* ada.post("/v1/flows", device)
      assert.strictEqual(started.status, 201)
      assert.deepStrictEqual(Object.keys(started.json).toSorted(), [
        "expiresAt",
        "flowId",
        "handOffs",
        "status",
        "transport",
        "userCode",
        "verificationUri",
        "verificationUriComplete"
      ])
      const { flowId, transport, userCode, verificationUri, verificationUriComplete } = started.json
      assert.deepStrictEqual([transport, userCode, verificationUri, verificationUriComplete], [
        "device",
        "WDJB-MJHT",
        "https://as.example/device",
        "https://as.example/device?user_code=WDJB-MJHT"
      ])
      assert.strictEqual(started.headers.get("cache-control"), "no-store")
      const status = yield* ada.get(`/v1/flows/${String(flowId)}`)
      assert.strictEqual(status.json["transport"], "device")
      for (const word of ["WDJB", "as.example", "device_code"]) assert.notInclude(status.text, word)
      const joined = yield* ada.post("/v1/flows", { ...device, onConflict: "join" })
      assert.notInclude(joined.text, "WDJB")
    }).pipe(Effect.provide(layer())))

  it.effect("EXT-01 says which step is missing where the authorization server knows no devices", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const script = yield* Script
      script.discovery = new DiscoveryError({ code: "device_unsupported" })
      const answer = yield* ada.post("/v1/flows", device)
      assert.deepStrictEqual([answer.status, answer.json["code"]], [422, "device_unsupported"])
      assert.include(String(answer.json["detail"]), "use another transport")
      script.discovery = undefined
      const finalize = yield* ada.post("/v1/flows", { ...device, confirmation: "finalize", returnTo })
      assert.deepStrictEqual([finalize.status, finalize.json["code"]], [422, "device_unconfirmable"])
    }).pipe(Effect.provide(layer())))
})

describe("POST /v1/flows/{flowId}/handoff", () => {
  it.effect("S2.7 gives what the person goes on with, for the same flow, and voids what was given before", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const script = yield* Script
      const started = yield* ada.post("/v1/flows", { server: "notes" })
      const flowId = String(started.json["flowId"])
      const former = yield* callbackPath
      const path = `/v1/flows/${flowId}/handoff`
      const handed = yield* ada.post(path, { transport: "device" })
      assert.strictEqual(handed.status, 200)
      assert.deepStrictEqual(
        [handed.json["flowId"], handed.json["status"], handed.json["transport"], handed.json["userCode"]],
        [flowId, "pending", "device", "WDJB-MJHT"]
      )
      yield* send("GET", former)
      assert.strictEqual((yield* ada.get(`/v1/flows/${flowId}`)).json["status"], "pending")
      assert.notInclude(script.calls, "server.exchange")
      const back = yield* ada.post(path, { transport: "gateway" })
      assert.match(String(back.json["connectUrl"]), /^https:\/\/valetkey\.example\/connect\//)
      assert.notStrictEqual(back.json["connectUrl"], started.json["connectUrl"])
      const now = yield* ada.get(`/v1/flows/${flowId}`)
      assert.deepStrictEqual([started, handed, back, now].map(({ json }) => json["handOffs"]), [0, 1, 2, 2])
    }).pipe(Effect.provide(layer())))

  it.effect("I10 refuses strangers, words that are no transport, and flows that wait for nothing", () =>
    Effect.gen(function*() {
      const [ada, eve] = [yield* caller(), yield* caller({ sub: "eve" })]
      const { json: { flowId } } = yield* ada.post("/v1/flows", { server: "notes" })
      const path = `/v1/flows/${String(flowId)}/handoff`
      const codeOf = (answer: { readonly status: number; readonly json: Readonly<Record<string, unknown>> }) => [
        answer.status,
        answer.json["code"]
      ]
      assert.deepStrictEqual(codeOf(yield* eve.post(path, { transport: "device" })), [404, "flow_not_found"])
      assert.deepStrictEqual(codeOf(yield* ada.post("/v1/flows/x/handoff", { transport: "device" })), [
        404,
        "flow_not_found"
      ])
      assert.deepStrictEqual(codeOf(yield* ada.post(path, { transport: "pigeon" })), [400, "invalid_request"])
      assert.deepStrictEqual(codeOf(yield* ada.post(path, { transport: "paste" })), [422, "transport_unavailable"])
      yield* ada.delete(`/v1/flows/${String(flowId)}`)
      assert.deepStrictEqual(codeOf(yield* ada.post(path, { transport: "device" })), [409, "handoff_late"])
    }).pipe(Effect.provide(layer())))
})
