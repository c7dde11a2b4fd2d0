import { assert, describe, it } from "@effect/vitest"
import { AuthorizationServer } from "@valetkey/domain/AuthorizationServer"
import { TokenResponse } from "@valetkey/oauth"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Effect, Redacted } from "effect"
import { grantAt, layer } from "./internal/world.ts"

const revoke = (
  provider: FakeProvider.FakeProvider,
  token: Redacted.Redacted,
  hint: "access_token" | "refresh_token"
) =>
  AuthorizationServer.use((oauth) =>
    oauth.revoke(grantAt(provider.origin, { dialect: { revocation: "bearer" }, authMethod: "client_secret_basic" }), {
      token,
      hint,
      clientSecret: Redacted.make("secret")
    })
  )

describe("a revocation that a token authorizes itself", () => {
  it.live("is a request with the token alone: no body, no client", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make({ quirks: ["bearer_revocation"] })
      const { accessToken } = provider.grant()
      assert.strictEqual(yield* revoke(provider, accessToken, "access_token"), "confirmed")
      assert.isFalse(provider.isActive(accessToken))
      const [request] = provider.requests("revocation")
      assert.strictEqual(request?.headers["authorization"], `Bearer ${Redacted.value(accessToken)}`)
      assert.strictEqual(request?.body, "")
      assert.notProperty(request?.headers, "content-type")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("EXT-06 is none for a refresh token, which authorizes nothing: nothing is sent and nothing confirmed", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make({ quirks: ["bearer_revocation"] })
      const { refreshToken } = provider.grant()
      assert.strictEqual(yield* revoke(provider, refreshToken, "refresh_token"), "unsupported")
      assert.deepStrictEqual(provider.log, [])
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("EXT-06 is confirmed by a token that is void already, and by no other refusal", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const outcome = Effect.fnUntraced(function*(reply: Reply.Reply) {
        provider.script("revocation", [reply])
        return yield* revoke(provider, Redacted.make("token"), "access_token").pipe(
          Effect.catch(({ code }) => Effect.succeed(code))
        )
      })
      assert.strictEqual(yield* outcome(Reply.json(200, { ok: true, revoked: true })), "confirmed")
      assert.strictEqual(yield* outcome(Reply.json(200, { ok: false, error: "token_revoked" })), "confirmed")
      assert.strictEqual(yield* outcome(Reply.json(401, {})), "confirmed")
      assert.strictEqual(yield* outcome(Reply.json(200, { ok: false, error: "ratelimited" })), "revocation_refused")
      assert.strictEqual(yield* outcome(Reply.json(403, {})), "revocation_refused")
      assert.strictEqual(yield* outcome(Reply.json(503, {})), "revocation_unavailable")
    }).pipe(Effect.scoped, Effect.provide(layer)))
})

describe("a request that is written as JSON", () => {
  it.live("holds what the form would, and the client proves itself as ever", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make({
        quirks: ["json_requests"],
        clients: [{ clientId: "c", secrets: ["s"] }]
      })
      const { refreshToken } = provider.grant({ clientId: "c" })
      const grant = grantAt(provider.origin, {
        clientId: "c",
        authMethod: "client_secret_basic",
        dialect: { requestBody: "json" }
      })
      yield* AuthorizationServer.use((oauth) =>
        oauth.refresh(grant, { refreshToken, clientSecret: Redacted.make("s") })
      )
      const [request] = provider.requests("token")
      assert.strictEqual(request?.headers["content-type"], "application/json")
      assert.strictEqual(request?.headers["authorization"], `Basic ${Buffer.from("c:s").toString("base64")}`)
      assert.deepStrictEqual(JSON.parse(request?.body ?? ""), {
        grant_type: "refresh_token",
        refresh_token: Redacted.value(refreshToken),
        resource: provider.resource
      })
    }).pipe(Effect.scoped, Effect.provide(layer)))
})

describe("tokens one level down", () => {
  const answer = (members: Record<string, unknown>): TokenResponse.TokenAnswer => ({
    status: 200,
    members,
    retryAfter: undefined,
    date: undefined
  })
  const taken = (members: Record<string, unknown>, tokensIn = "authed_user") =>
    TokenResponse.unwrap(answer(members), { tokensIn }).members?.["access_token"]

  it("TOK-24 are the person's, and the bot's beside them are dropped", () => {
    const both = { access_token: "bot", refresh_token: "bot-r", authed_user: { access_token: "person" } }
    assert.strictEqual(taken(both), "person")
    assert.isUndefined(TokenResponse.unwrap(answer(both), { tokensIn: "authed_user" }).members?.["refresh_token"])
    // Without the person's tokens there are none: the bot's are another account's.
    assert.isUndefined(taken({ access_token: "bot", authed_user: { id: "U1" } }))
  })

  it("are where the standard has them where there is no such level", () => {
    assert.strictEqual(taken({ access_token: "a" }), "a")
    for (const odd of [null, "text", ["list"], 7]) {
      assert.strictEqual(taken({ access_token: "a", authed_user: odd }), "a")
    }
    assert.strictEqual(taken({ access_token: "a" }, "constructor"), "a")
  })

  it("TOK-10 keep an error that stands beside them", () => {
    const refused = TokenResponse.unwrap(answer({ ok: false, error: "x", authed_user: { access_token: "a" } }), {
      tokensIn: "authed_user"
    })
    assert.strictEqual(TokenResponse.errorOf(refused), "x")
  })
})
