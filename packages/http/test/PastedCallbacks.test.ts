import { assert, describe, it } from "@effect/vitest"
import { maxCallbackUrl } from "@valetkey/domain/CallbackUrl"
import * as Emitted from "@valetkey/testing/Emitted"
import { LogRecorder } from "@valetkey/testing/LogRecorder"
import { SpanRecorder } from "@valetkey/testing/SpanRecorder"
import { Effect, Layer } from "effect"
import { caller } from "./Caller.ts"
import { answerPath } from "./Consent.ts"
import { layer } from "./Harness.ts"
import { publicOrigin, Script } from "./Script.ts"

/** A flow over loopback, and the address where its browser ends. */
const started = Effect.gen(function*() {
  const ada = yield* caller()
  const { json } = yield* ada.post("/v1/flows", { server: "notes", transport: "loopback" })
  const paste = `/v1/flows/${String(json["flowId"])}/callback`
  return { ada, paste, status: `/v1/flows/${String(json["flowId"])}`, url: `${publicOrigin}${yield* answerPath}` }
})

describe("POST /v1/flows/{flowId}/callback", () => {
  it.effect("LOOP-15 finishes the flow and answers with the connection, without the address", () =>
    Effect.gen(function*() {
      const { ada, paste, url } = yield* started
      const answer = yield* ada.post(paste, { url })
      assert.strictEqual(answer.status, 200)
      assert.strictEqual(answer.json["status"], "completed")
      assert.propertyVal(answer.json["connection"], "status", "active")
      assert.strictEqual(answer.headers.get("cache-control"), "no-store")
      Emitted.record("response", answer.text)
    }).pipe(Effect.provide(layer())))

  it.effect("LOOP-15 refuses with stable codes that quote nothing, and the right address still completes the flow", () =>
    Effect.gen(function*() {
      const { ada, paste, status, url } = yield* started
      const code = new URL(url).searchParams.get("code")
      const cases = [
        [{ url: code }, 422, "callback_url_invalid"],
        [{ url: url.replace(/state=[^&]*/, "") }, 422, "callback_url_invalid"],
        [{ url: url.replace("/callback/", "/callback/other") }, 422, "callback_url_mismatch"],
        [{ url: url.replace(/state=[^&]*/, "state=forged") }, 422, "callback_url_mismatch"],
        [{ url: `${url}&more=${"x".repeat(maxCallbackUrl)}` }, 400, "invalid_request"],
        [{ url: "" }, 400, "invalid_request"],
        [{ url, code }, 400, "invalid_request"],
        [{ code }, 400, "invalid_request"]
      ] as const
      for (const [body, expected, stable] of cases) {
        const refused = yield* ada.post(paste, body)
        assert.deepStrictEqual([refused.status, refused.json["code"]], [expected, stable])
        Emitted.record("response", refused.text)
      }
      assert.strictEqual((yield* ada.get(status)).json["status"], "pending")
      assert.notInclude((yield* Script).calls, "server.exchange")
      assert.strictEqual((yield* ada.post(paste, { url })).json["status"], "completed")
      const again = yield* ada.post(paste, { url })
      assert.deepStrictEqual([again.status, again.json["code"]], [409, "callback_url_late"])
    }).pipe(Effect.provide(layer())))

  it.effect("LOOP-15 leaves no part of the address in a span or a log line, taken or refused", () =>
    Effect.gen(function*() {
      const { ada, paste, url } = yield* started
      const forged = url.replace(/state=[^&]*/, "state=forged-by-somebody")
      assert.strictEqual((yield* ada.post(paste, { url: forged })).status, 422)
      const long = `${url}&more=${"x".repeat(maxCallbackUrl)}`
      assert.strictEqual((yield* ada.post(paste, { url: long })).status, 400)
      assert.strictEqual((yield* ada.post(paste, { url: [url] })).status, 400)
      assert.strictEqual((yield* ada.post(paste, { address: url })).status, 400)
      assert.strictEqual((yield* ada.post(paste, { url })).status, 200)
      const seen = [yield* (yield* SpanRecorder).text, ...yield* (yield* LogRecorder).lines].join("\n")
      assert.include(seen, "Flows.paste")
      const { searchParams } = new URL(url)
      for (const secret of [searchParams.get("code")!, searchParams.get("state")!, "forged-by-somebody", "?state="]) {
        assert.notInclude(seen, secret)
      }
    }).pipe(Effect.provide(Layer.provideMerge(layer(), Layer.merge(SpanRecorder.layer, LogRecorder.layer)))))

  it.effect("LOOP-15 takes no address for a flow that a browser has to finish", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const { json } = yield* ada.post("/v1/flows", { server: "notes" })
      const url = `${publicOrigin}${yield* answerPath}`
      const refused = yield* ada.post(`/v1/flows/${String(json["flowId"])}/callback`, { url })
      assert.deepStrictEqual([refused.status, refused.json["code"]], [409, "callback_url_unexpected"])
    }).pipe(Effect.provide(layer())))
})
