import { assert, describe, it } from "@effect/vitest"
import { AuditTrail } from "@valetkey/domain/AuditTrail"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import { Effect } from "effect"
import { caller } from "./Caller.ts"
import { connect } from "./Consent.ts"
import { layer } from "./Harness.ts"

interface Event {
  readonly seq: number
  readonly action: string
  readonly [field: string]: unknown
}

describe("the audit endpoints", () => {
  it.effect("LEAK-12 list the tenant's events in pages, with who called, and no token", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      yield* connect(ada)
      const token = yield* ada.post("/v1/connections/notes/token", {})
      yield* (yield* AuditTrail).flush
      const first = yield* ada.get("/v1/audit?limit=2")
      assert.strictEqual(first.status, 200, first.text)
      const second = yield* ada.get(`/v1/audit?limit=2&after=${String(first.json["next"])}`)
      const events = [first, second].flatMap(({ json }) => json["events"] as ReadonlyArray<Event>)
      assert.deepStrictEqual(events.map(({ action, seq }) => [seq, action]), [
        [1, "flow.started"],
        [2, "flow.settled"],
        [3, "token.read"]
      ])
      assert.isUndefined(second.json["next"])
      assert.deepInclude(events[2]!, { principal: "jwt", from: "socket", count: 1, generation: 1, subject: "ada" })
      assert.match(String(events[2]?.["fingerprint"]), /^1:[0-9a-f]{16}$/)
      assert.notInclude(first.text + second.text, String(token.json["accessToken"]))
    }).pipe(Effect.provide(layer())))

  it.effect("LIFE-10 verify the chain, take the end of an earlier verification, and say where it is broken", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      yield* connect(ada)
      const whole = yield* ada.get("/v1/audit/verification")
      assert.deepInclude(whole.json, { intact: true, events: 2 })
      const head = whole.json["head"] as { readonly seq: number; readonly hash: string }
      const expected = `/v1/audit/verification?expect=${head.seq}:${head.hash}`
      assert.strictEqual((yield* ada.get(expected)).json["intact"], true)
      const { audit } = yield* MemoryWorld
      audit[0] = { ...audit[0]!, outcome: "never" }
      assert.deepInclude((yield* ada.get(expected)).json, { intact: false, fault: { kind: "altered", seq: 1 } })
      assert.strictEqual((yield* ada.get("/v1/audit/verification?expect=1:x")).status, 400)
    }).pipe(Effect.provide(layer())))

  it.effect("are for an operator of the tenant alone", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      yield* connect(ada)
      const other = yield* caller({ tenant: "umbrella" })
      assert.deepStrictEqual((yield* other.get("/v1/audit")).json["events"], [])
      assert.deepInclude((yield* other.get("/v1/audit/verification")).json, { intact: true, events: 0 })
      const reader = yield* caller({ scope: "connections:read tokens:read" })
      assert.strictEqual((yield* reader.get("/v1/audit")).status, 403)
      assert.strictEqual((yield* reader.get("/v1/audit/verification")).status, 403)
    }).pipe(Effect.provide(layer())))
})
