import { assert, describe, it } from "@effect/vitest"
import {
  EgressError,
  Interrupted,
  type Reason,
  Redirected,
  Refused,
  Timeout,
  TooLarge,
  Unreachable
} from "@valetkey/egress/EgressError"
import { Classification } from "@valetkey/oauth"
import { Duration, Effect } from "effect"

const now = Date.UTC(2026, 10, 21, 12, 0, 0)

const ofAnswer = (status: number, members?: Readonly<Record<string, unknown>>, retryAfter?: string) =>
  Classification.ofAnswer({ status, members, retryAfter, date: undefined }, now)

describe("Classification", () => {
  it.effect("TOK-17 TOK-18 TOK-10 classifies every known error code, with status 400, 401 and 200 alike", () =>
    Effect.sync(() => {
      for (const [error, tag] of Object.entries(Classification.table)) {
        for (const status of [200, 400, 401, 403]) {
          const failure = ofAnswer(status, { error })
          assert.strictEqual(failure._tag, tag, `${status} ${error}`)
          if (failure._tag === "Terminal" || failure._tag === "Configuration") assert.strictEqual(failure.error, error)
        }
      }
      assert.strictEqual(Classification.table["invalid_grant"], "Terminal")
      assert.strictEqual(Classification.table["invalid_client"], "Configuration")
    }))

  it.effect("TOK-12 TOK-19 TOK-20 classifies answers without a known code by their status", () =>
    Effect.sync(() => {
      const table: ReadonlyArray<readonly [number, Readonly<Record<string, unknown>> | undefined, string]> = [
        [200, undefined, "UnknownOutcome"],
        [200, {}, "UnknownOutcome"],
        [204, undefined, "UnknownOutcome"],
        [200, { error: "something_new" }, "Transient"],
        [302, undefined, "Transient"],
        [400, undefined, "Transient"],
        [400, { error: "something_new" }, "Transient"],
        [400, { error: "constructor" }, "Transient"],
        [401, undefined, "Transient"],
        [403, undefined, "Transient"],
        [404, undefined, "Transient"],
        [408, { error: "invalid_grant" }, "Transient"],
        [425, undefined, "Transient"],
        [429, { error: "invalid_grant" }, "Transient"],
        [500, { error: "invalid_grant" }, "Transient"],
        [503, undefined, "Transient"],
        [504, { error: "invalid_client" }, "Transient"]
      ]
      for (const [status, members, tag] of table) {
        const failure = ofAnswer(status, members)
        assert.strictEqual(failure._tag, tag, `${status} ${JSON.stringify(members)}`)
        if (failure._tag !== "Transient") continue
        const asksForPatience = status >= 500 || [408, 425, 429].includes(status)
        assert.strictEqual(failure.unclear === true, !asksForPatience, `${status} ${JSON.stringify(members)}`)
      }
    }))

  it.effect("TOK-20 TOK-22 tells what was certainly not sent from what may have been", () =>
    Effect.sync(() => {
      const table: ReadonlyArray<readonly [typeof Reason.Type, string]> = [
        [new Refused({ rule: "address" }), "Transient"],
        [new Unreachable({ detail: "ECONNREFUSED" }), "Transient"],
        [new Timeout({ sent: false, phase: "connect" }), "Transient"],
        [new Timeout({ sent: true, phase: "headers" }), "UnknownOutcome"],
        [new Timeout({ sent: true, phase: "total" }), "UnknownOutcome"],
        [new Interrupted({ sent: false, detail: "ABORTED" }), "Transient"],
        [new Interrupted({ sent: true, detail: "ECONNRESET" }), "UnknownOutcome"],
        [new TooLarge({ limit: 1 }), "UnknownOutcome"],
        [new Redirected({ status: 302 }), "Transient"]
      ]
      for (const [reason, tag] of table) {
        assert.strictEqual(Classification.ofEgress(new EgressError({ reason }))._tag, tag, reason._tag)
      }
    }))

  it.effect("TOK-21 honours Retry-After as seconds and as a date, up to an hour, and nothing else", () =>
    Effect.sync(() => {
      const table: ReadonlyArray<readonly [string | undefined, number | undefined]> = [
        ["120", 120],
        ["0", 0],
        ["1000000000", 3600],
        ["Sat, 21 Nov 2026 12:01:30 GMT", 90],
        ["Sat, 21 Nov 2026 11:00:00 GMT", 0],
        ["Sat, 21 Nov 2099 11:00:00 GMT", 3600],
        ["-1", undefined],
        ["1.5", undefined],
        ["soon", undefined],
        ["2026-11-21", undefined],
        ["", undefined],
        [undefined, undefined]
      ]
      for (const [header, seconds] of table) {
        for (const status of [429, 503]) {
          const failure = ofAnswer(status, undefined, header)
          assert.strictEqual(failure._tag, "Transient")
          const wait = failure._tag === "Transient" ? failure.retryAfter : undefined
          assert.strictEqual(wait === undefined ? undefined : Duration.toSeconds(wait), seconds, header)
        }
      }
    }))
})
