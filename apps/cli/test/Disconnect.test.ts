import { assert, describe, it } from "@effect/vitest"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect } from "effect"
import * as StubServer from "./support/StubServer.ts"
import * as Valetkey from "./support/Valetkey.ts"

const connected = Effect.gen(function*() {
  const valetkey = yield* Valetkey.make
  const provider = yield* FakeProvider.make()
  const { browser } = valetkey
  const running = yield* valetkey.start(["connect", provider.resource, "--name", "fake"], { BROWSER: browser.path })
  yield* Valetkey.until(() => browser.opened().length > 0)
  yield* UserAgent.make().authorize(browser.opened()[0]?.[0] ?? "")
  assert.strictEqual((yield* running.ended).code, 0)
  return { valetkey, provider }
})

const receipt = (over: Readonly<Record<string, unknown>>) => ({
  id: "A".repeat(43),
  server: "fake",
  cause: "disconnect",
  disconnectedAt: "2026-01-01T00:00:00.000Z",
  attempts: 1,
  ...over
})

describe("valetkey disconnect", () => {
  it.live("says that the provider confirmed when it did, and that it did not while it did not", () =>
    Effect.scoped(Effect.gen(function*() {
      const { provider, valetkey } = yield* connected
      provider.script("revocation", [Reply.raw({ status: 503 })])
      const first = yield* valetkey.json(["disconnect", "fake", "--no-wait"])
      assert.deepInclude(first.document, { ok: true, disconnected: true, outcome: "pending" })
      const waited = yield* valetkey.run(["disconnect", "fake", "--wait", "60s"])
      assert.strictEqual(waited.stdout, "fake is disconnected: revoked at the provider (confirmed)\n")
      const { document } = yield* valetkey.json(["disconnect", "fake"])
      assert.strictEqual(document["outcome"], "confirmed")
      assert.deepInclude(document["revocation"] as object, { attempts: 2, refreshToken: { outcome: "confirmed" } })
      const never = yield* valetkey.json(["disconnect", "never"])
      assert.deepStrictEqual(never.document, {
        ok: true,
        server: "never",
        disconnected: true,
        outcome: "nothing_to_revoke"
      })
    })))

  it.live("I25 says no more than the server knows", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const end = "2100-01-01T00:00:00.000Z"
      let answer: StubServer.Answer = () => undefined
      const stub = yield* StubServer.make(valetkey, (request, body) =>
        request.method === "DELETE" ? { status: 204, body: "" } : answer(request, body))
      const cases = [
        [
          { outcome: "unsupported", accessToken: { outcome: "unsupported", expiresAt: end } },
          `forgotten here; this provider offers no revocation, its access token ends at ${end}`
        ],
        [
          {
            outcome: "unsupported",
            accessToken: { outcome: "unsupported", expiresAt: "2001-01-01T00:00:00.000Z" },
            refreshToken: { outcome: "unsupported" }
          },
          "forgotten here; this provider offers no revocation, its access token has ended, " +
          "its refresh token lasts until the provider ends it"
        ],
        [
          {
            outcome: "partial",
            accessToken: { outcome: "unsupported", expiresAt: end },
            refreshToken: { outcome: "confirmed" }
          },
          "its refresh token is revoked at the provider (confirmed); the provider revokes no other, " +
          `its access token ends at ${end}`
        ],
        [
          { outcome: "given_up", error: "revocation_refused", refreshToken: { outcome: "given_up" } },
          "forgotten here; the provider never confirmed (revocation_refused), end the grant there"
        ],
        [
          { outcome: "pending", error: "revocation_unavailable", refreshToken: { outcome: "pending" } },
          "forgotten here; the provider has not confirmed yet (revocation_unavailable)"
        ]
      ] as const
      for (const [over, sentence] of cases) {
        answer = (request) => ({
          body: request.url?.includes("?server=") === true ? { revocations: [receipt(over)] } : receipt(over)
        })
        const ended = yield* valetkey.run(["disconnect", "fake"])
        assert.strictEqual(ended.stdout, `fake is disconnected: ${sentence}\n`)
        const { code, document } = yield* valetkey.json(["disconnect", "fake", "--no-wait"])
        assert.deepStrictEqual([code, document["outcome"]], [0, over.outcome])
      }
      // Tokens that came late are another matter than the connection itself.
      answer = () => ({ body: { revocations: [receipt({ outcome: "confirmed", cause: "late_result" })] } })
      assert.strictEqual((yield* valetkey.json(["disconnect", "fake"])).document["outcome"], "nothing_to_revoke")
      // A credential without the scope, a server of the version before: the connection is gone all the same.
      answer = () => ({ status: 403, body: { code: "forbidden", detail: "No" } })
      const blind = yield* valetkey.json(["disconnect", "fake"])
      assert.deepStrictEqual(blind.document, { ok: true, server: "fake", disconnected: true, outcome: "unknown" })
      assert.include(stub.requests, "GET /v1/revocations?server=fake&limit=20")
      assert.include(stub.requests, `GET /v1/revocations/${"A".repeat(43)}?wait=10`)
      for (const wait of ["soon", "61s", "2h"]) {
        assert.strictEqual((yield* valetkey.json(["disconnect", "fake", "--wait", wait])).code, 2)
      }
    })))
})
