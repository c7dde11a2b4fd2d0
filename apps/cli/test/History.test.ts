import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as StubServer from "./support/StubServer.ts"
import * as Valetkey from "./support/Valetkey.ts"

const events = [
  {
    id: "A".repeat(43),
    at: "2026-11-21T10:00:00.000Z",
    action: "token.refresh_failed",
    outcome: "Terminal",
    answer: "invalid_grant",
    principal: "local",
    from: "socket",
    generation: 2,
    fingerprint: "1:00ff"
  },
  {
    id: "B".repeat(43),
    at: "2026-11-21T09:00:00.000Z",
    action: "flow.started",
    outcome: "gate\u001b[31mway",
    principal: "local",
    from: "socket"
  }
]

describe("history", () => {
  it.live("shows what became of a connection with the provider's answer, and how to see what was before", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const { requests } = yield* StubServer.make(valetkey, ({ url }) => {
        return url?.includes("before=B") === true
          ? { body: { events: [] } }
          : { body: { events, next: "B".repeat(43), lastUsedAt: new Date(Date.now() - 3_600_000).toISOString() } }
      })
      const ended = yield* valetkey.run(["history", "notes", "--limit", "2"])
      assert.strictEqual(ended.code, 0, ended.stderr)
      const [head, ...rows] = ended.stdout.trimEnd().split("\n").map((line) => line.split(/ {2,}/))
      assert.deepStrictEqual(head, ["AT", "EVENT", "OUTCOME", "PROVIDER", "GENERATION", "SECRET", "BY", "FROM"])
      assert.deepStrictEqual(rows, [
        [
          "2026-11-21T10:00:00.000Z",
          "token.refresh_failed",
          "Terminal",
          "invalid_grant",
          "2",
          "1:00ff",
          "local",
          "socket"
        ],
        ["2026-11-21T09:00:00.000Z", "flow.started", "gate[31mway", "-", "-", "-", "local", "socket"]
      ])
      assert.match(ended.stderr, /Last used 1h( \d+s)? ago/)
      assert.include(ended.stderr, "There is more: valetkey history notes --before=BBBB")
      assert.deepStrictEqual(requests, ["GET /v1/connections/notes/history?limit=2"])
      const earlier = yield* valetkey.json(["history", "notes", "--before", "B".repeat(43)])
      assert.deepStrictEqual(earlier.document, { ok: true, server: "notes", events: [] })
      for (const wrong of [["--limit", "0"], ["--limit", "101"]]) {
        assert.strictEqual((yield* valetkey.run(["history", "notes", ...wrong])).code, 2)
      }
    })))
})
