import { assert, describe, it } from "@effect/vitest"
import { AuditTrail } from "@valetkey/domain/AuditTrail"
import { RedemptionError } from "@valetkey/domain/AuthorizationServer"
import { Effect, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { type Caller, caller } from "./Caller.ts"
import { connect } from "./Consent.ts"
import { layer } from "./Harness.ts"
import { issue, Script } from "./Script.ts"

const path = "/v1/connections/notes/history"

interface Event {
  readonly id: string
  readonly at: string
  readonly action: string
  readonly outcome: string
  readonly answer?: string
  readonly generation?: number
  readonly fingerprint?: string
}

const history = Effect.fnUntraced(function*(ada: Caller, query = "") {
  const { json } = yield* ada.get(`${path}${query}`)
  return {
    events: json["events"] as ReadonlyArray<Event>,
    next: json["next"] as string | undefined,
    lastUsedAt: json["lastUsedAt"] as string | undefined
  }
})

const use = (ada: Caller) => ada.post("/v1/connections/notes/token", {})

const refuse = (error: string) => () => Effect.fail(new RedemptionError({ reason: { _tag: "Terminal", error } }))

describe("the history of a connection", () => {
  it.effect("tells why a person must sign in again: generations, causes, the provider's answer, fingerprints and no secret", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const script = yield* Script
      const secrets: Array<string> = []
      const noted = (n: number) =>
        Effect.tap(
          issue(n),
          ({ accessToken, refreshToken }) =>
            Effect.sync(() => secrets.push(Redacted.value(accessToken), Redacted.value(refreshToken!)))
        )
      script.exchange = noted
      script.refresh = noted
      yield* connect(ada)
      yield* TestClock.adjust("2 hours")
      assert.strictEqual((yield* use(ada)).status, 200)
      yield* TestClock.adjust("2 hours")
      script.refresh = refuse("invalid_grant")
      assert.strictEqual((yield* use(ada)).status, 409)
      yield* connect(ada)
      const { events } = yield* history(ada)
      assert.deepStrictEqual(
        events.map(({ action, answer, generation, outcome }) => [action, outcome, generation, answer]),
        [
          ["flow.settled", "completed", 3, undefined],
          ["flow.started", "gateway", undefined, undefined],
          ["connection.needs_consent", "refresh_token_rejected", 2, undefined],
          ["token.refresh_failed", "Terminal", 2, "invalid_grant"],
          ["token.refreshed", "ok", 2, undefined],
          ["flow.settled", "completed", 1, undefined]
        ].concat([["flow.started", "gateway", undefined, undefined]])
      )
      const [renewed, , lost, refused, refreshed, consented] = events.map(({ fingerprint }) => fingerprint)
      // The token that the first consent gave was redeemed once, the one that came for it was refused.
      assert.strictEqual(consented, refreshed)
      assert.strictEqual(refused, lost)
      assert.lengthOf(new Set([consented, refused, renewed]), 3)
      const text = JSON.stringify(events)
      for (const secret of secrets) assert.notInclude(text, secret)
      assert.notMatch(text, /"seq"|"previous"|"tenant"|"subject"/)
    }).pipe(Effect.provide(layer())))

  it.effect("keeps of a provider's answer nothing but its error code, and none that could be something else", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const script = yield* Script
      for (
        const [error, kept] of [["bad_refresh_token", "bad_refresh_token"], [
          "S3cret-token.of_mine",
          "unknown"
        ]] as const
      ) {
        script.refresh = issue
        yield* connect(ada)
        yield* TestClock.adjust("2 hours")
        script.refresh = refuse(error)
        yield* use(ada)
        const { events } = yield* history(ada)
        assert.strictEqual(events.find(({ action }) => action === "token.refresh_failed")?.answer, kept)
      }
    }).pipe(Effect.provide(layer())))

  it.effect("goes back page after page, also when the connection is gone", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      yield* connect(ada)
      yield* ada.delete("/v1/connections/notes")
      const whole = (yield* history(ada)).events
      assert.deepStrictEqual(whole.map(({ action }) => action), [
        "connection.disconnected",
        "flow.settled",
        "flow.started"
      ])
      const first = yield* history(ada, "?limit=2")
      assert.deepStrictEqual(first.events, whole.slice(0, 2))
      const second = yield* history(ada, `?limit=2&before=${first.next}`)
      assert.deepStrictEqual([second.events, second.next], [whole.slice(2), undefined])
    }).pipe(Effect.provide(layer())))

  it.effect("knows the last use to within a minute, without a write of its own", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const script = yield* Script
      yield* connect(ada)
      assert.isUndefined((yield* history(ada)).lastUsedAt)
      yield* TestClock.adjust("10 minutes")
      const before = script.calls.length
      yield* use(ada)
      assert.deepStrictEqual(script.calls.slice(before), ["ServerStore.get", "ConnectionStore.get"])
      const used = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
      yield* TestClock.adjust("31 seconds")
      yield* (yield* AuditTrail).flush
      const { events, lastUsedAt } = yield* history(ada)
      const late = Date.parse(lastUsedAt!) - used
      assert.isAtLeast(late, 0)
      assert.isAtMost(late, 60_000)
      assert.isFalse(events.some(({ action }) => action === "token.read"))
    }).pipe(Effect.provide(layer())))

  it.effect("is for whoever may read connections, and shows what is the caller's own alone", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      yield* connect(ada)
      for (const claims of [{ sub: "grace" }, { tenant: "umbrella" }]) {
        assert.deepStrictEqual(yield* history(yield* caller(claims)), {
          events: [],
          next: undefined,
          lastUsedAt: undefined
        })
      }
      const blind = yield* caller({ scope: "connections:write flows:write tokens:read admin" })
      assert.strictEqual((yield* blind.get(path)).status, 403)
      for (const query of ["?limit=0", "?limit=101", "?before=1", "?before=x", "?after=1"]) {
        assert.strictEqual((yield* ada.get(`${path}${query}`)).status, 400, query)
      }
    }).pipe(Effect.provide(layer())))
})
