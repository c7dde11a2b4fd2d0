import { assert, describe, it } from "@effect/vitest"
import { AuthorizationServer } from "@valetkey/domain/AuthorizationServer"
import type { Grant } from "@valetkey/domain/Connection"
import { notYet } from "@valetkey/domain/Credentials"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Cause, DateTime, Duration, Effect, Fiber, Redacted } from "effect"
import { accepted, consent, grantAt, layer, layerWith, redirectUri, secret, server } from "./internal/world.ts"

const refresh = (grant: Grant, refreshToken: Redacted.Redacted, clientSecret?: Redacted.Redacted) =>
  AuthorizationServer.use((oauth) => oauth.refresh(grant, { refreshToken, clientSecret }))

const reason = (provider: FakeProvider.FakeProvider, reply: Reply.Reply) =>
  Effect.gen(function*() {
    provider.script("token", [reply])
    const { refreshToken } = provider.grant()
    const error = yield* Effect.flip(refresh(grantAt(provider.origin), refreshToken))
    assert.strictEqual(provider.tokenCount(refreshToken), 1)
    return error.reason
  })

const body = (provider: FakeProvider.FakeProvider) => Object.fromEntries(provider.requests("token").at(-1)?.form ?? [])

describe("Exchange", () => {
  it.live("S1.2 S1.4 DISC-16 posts the code with its verifier, redirect URI and resource", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make({ accessTokenTtlSeconds: 3600 })
      const { callbackAccepted, code, codeVerifier, state, callback } = yield* consent(server(provider.resource))
      assert.strictEqual(callback.searchParams.get("state"), Redacted.value(state))
      const oauth = yield* AuthorizationServer
      const before = yield* DateTime.now
      const credentials = yield* oauth.exchange(callbackAccepted, { codeVerifier, clientSecret: undefined })
      assert.isTrue(provider.isActive(credentials.accessToken))
      assert.strictEqual(credentials.tokenType, "Bearer")
      assert.deepStrictEqual(credentials.scopes, ["mcp:read", "offline_access"])
      assert.isDefined(credentials.refreshToken)
      assert.isAtLeast(DateTime.toEpochMillis(credentials.issuedAt), DateTime.toEpochMillis(before))
      assert.strictEqual(
        Duration.toSeconds(DateTime.distance(credentials.issuedAt, credentials.expiresAt!)),
        3600
      )
      assert.deepStrictEqual(body(provider), {
        grant_type: "authorization_code",
        client_id: "fake-client",
        code: Redacted.value(code),
        code_verifier: Redacted.value(codeVerifier),
        redirect_uri: redirectUri,
        resource: provider.resource
      })
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("FLOW-16 sends a code of any bytes exactly as it was issued", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      for (const code of ["a+b", "a%2Bb", "a/b=", "a\u0000b", "a\r\nb: c", "ü€😀", "a&b=c", "a b"]) {
        yield* Effect.result(AuthorizationServer.use((oauth) =>
          oauth.exchange(accepted(grantAt(provider.origin), Redacted.make(code)), {
            codeVerifier: secret(),
            clientSecret: undefined
          })
        ))
        assert.strictEqual(body(provider)["code"], code)
      }
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("FLOW-36 posts a code once even when nobody answers, and says that the outcome is unknown", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const { callbackAccepted, code, codeVerifier } = yield* consent(server(provider.resource))
      provider.script("token", [Reply.processThenReset])
      const error = yield* AuthorizationServer.use((oauth) =>
        oauth.exchange(callbackAccepted, { codeVerifier, clientSecret: undefined })
      ).pipe(Effect.flip)
      assert.strictEqual(error.reason._tag, "UnknownOutcome")
      assert.strictEqual(provider.tokenCount(code), 1)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("FLOW-28 is refused for good when the verifier is another flow's", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const { callbackAccepted } = yield* consent(server(provider.resource))
      const error = yield* AuthorizationServer.use((oauth) =>
        oauth.exchange(callbackAccepted, { codeVerifier: secret(), clientSecret: undefined })
      ).pipe(Effect.flip)
      assert.deepStrictEqual(error.reason, { _tag: "Terminal", error: "invalid_grant" })
    }).pipe(Effect.scoped, Effect.provide(layer)))
})

describe("Refreshing", () => {
  it.live("DISC-16 posts the refresh token with the resource and without a scope", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const { refreshToken } = provider.grant()
      const credentials = yield* refresh(grantAt(provider.origin), refreshToken)
      assert.isTrue(provider.isActive(credentials.accessToken))
      assert.notStrictEqual(Redacted.value(credentials.refreshToken!), Redacted.value(refreshToken))
      assert.deepStrictEqual(body(provider), {
        grant_type: "refresh_token",
        client_id: "fake-client",
        refresh_token: Redacted.value(refreshToken),
        resource: provider.resource
      })
      const { resource: _, ...without } = grantAt(provider.origin)
      yield* refresh(without, credentials.refreshToken!)
      assert.notProperty(body(provider), "resource")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("REG-10 S3x.9 encodes id and secret before it joins them for Basic", () =>
    Effect.gen(function*() {
      const clientSecret = "s:ec%r et+/=ü"
      const provider = yield* FakeProvider.make({ clients: [{ clientId: "id:with%", secrets: [clientSecret] }] })
      const grant = grantAt(provider.origin, { clientId: "id:with%", authMethod: "client_secret_basic" })
      const { refreshToken } = provider.grant({ clientId: "id:with%" })
      const credentials = yield* refresh(grant, refreshToken, Redacted.make(clientSecret))
      const header = String(provider.requests("token")[0]?.headers["authorization"])
      const [id, encoded] = Buffer.from(header.replace(/^Basic /, ""), "base64").toString().split(":")
      assert.strictEqual(id, "id%3Awith%25")
      assert.strictEqual(encoded, "s%3Aec%25r+et%2B%2F%3D%C3%BC")
      assert.notProperty(body(provider), "client_secret")
      assert.notProperty(body(provider), "client_id")
      const post = { ...grant, authMethod: "client_secret_post" } as const
      yield* refresh(post, credentials.refreshToken!, Redacted.make(clientSecret))
      assert.strictEqual(body(provider)["client_secret"], clientSecret)
      assert.isUndefined(provider.requests("token").at(-1)?.headers["authorization"])
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("REG-10 writes ids that need no encoding as they are, for servers that do not decode", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make({
        clients: [{ clientId: "pre-registered.client_1*", secrets: ["s-e.c_r*"] }]
      })
      const grant = grantAt(provider.origin, {
        clientId: "pre-registered.client_1*",
        authMethod: "client_secret_basic"
      })
      const { refreshToken } = provider.grant({ clientId: "pre-registered.client_1*" })
      yield* refresh(grant, refreshToken, Redacted.make("s-e.c_r*"))
      const header = String(provider.requests("token")[0]?.headers["authorization"])
      assert.strictEqual(
        Buffer.from(header.replace(/^Basic /, ""), "base64").toString(),
        "pre-registered.client_1*:s-e.c_r*"
      )
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("sends nothing when the client's secret is missing: a person must mend that", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const grant = grantAt(provider.origin, { authMethod: "client_secret_post" })
      const error = yield* Effect.flip(refresh(grant, secret()))
      assert.deepStrictEqual(error.reason, { _tag: "Configuration", error: "invalid_client" })
      assert.isEmpty(provider.log)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("TOK-08 TOK-11 TOK-01 S1x.12 takes sloppy answers as credentials", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const replies = [
        Reply.patch({ token_type: undefined }),
        Reply.patch({ token_type: "bearer", expires_in: "3600", refresh_token: undefined }),
        Reply.patch({ expires_in: "soon", scope: "" }),
        Reply.patch({ id_token: "not.a.jwt" }),
        Reply.contentType("text/html"),
        Reply.formEncoded
      ]
      for (const reply of replies) {
        provider.script("token", [reply])
        const credentials = yield* refresh(grantAt(provider.origin), provider.grant().refreshToken)
        assert.isTrue(provider.isActive(credentials.accessToken))
      }
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("TOK-10 TOK-17 TOK-18 TOK-19 TOK-20 TOK-21 classifies refusals", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      assert.deepStrictEqual(yield* reason(provider, Reply.error("invalid_grant")), {
        _tag: "Terminal",
        error: "invalid_grant"
      })
      assert.deepStrictEqual(yield* reason(provider, Reply.error("bad_refresh_token", 200)), {
        _tag: "Terminal",
        error: "bad_refresh_token"
      })
      assert.deepStrictEqual(yield* reason(provider, Reply.patch({ error: "invalid_grant" })), {
        _tag: "Terminal",
        error: "invalid_grant"
      })
      const challenged = Reply.json(401, { error: "invalid_client" }, { "www-authenticate": "Basic realm=\"as\"" })
      assert.deepStrictEqual(yield* reason(provider, challenged), { _tag: "Configuration", error: "invalid_client" })
      const transient = [Reply.html(403), Reply.raw({ status: 400 }), Reply.raw({ status: 500 }), Reply.redirect("/x")]
      for (const reply of transient) assert.strictEqual((yield* reason(provider, reply))._tag, "Transient")
      const limited = yield* reason(provider, Reply.raw({ status: 429, headers: { "retry-after": "7" } }))
      assert.deepStrictEqual(limited, { _tag: "Transient", retryAfter: Duration.seconds(7) })
      assert.isEmpty(provider.requests("elsewhere"))
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live(
    "TOK-06 TOK-12 TOK-13 TOK-15 TOK-22 calls every answer that cannot be used an unknown outcome",
    () =>
      Effect.gen(function*() {
        const provider = yield* FakeProvider.make()
        const replies = {
          empty: Reply.body(""),
          "no content": Reply.transform(() => ({ status: 204, headers: {}, body: "" })),
          truncated: Reply.truncated,
          "short read": Reply.shortRead,
          endless: Reply.endless,
          compressed: Reply.gzipBomb(1),
          reset: Reply.processThenReset,
          html: Reply.body("<h1>Welcome</h1>", "text/html"),
          "no token": Reply.patch({ access_token: undefined, refresh_token: undefined }),
          "broken token": Reply.patch({ access_token: "a\r\nb", refresh_token: undefined }),
          "other type": Reply.patch({ token_type: "mac" }),
          dpop: Reply.patch({ token_type: "DPoP" })
        }
        for (const [name, reply] of Object.entries(replies)) {
          assert.strictEqual((yield* reason(provider, reply))._tag, "UnknownOutcome", name)
        }
      }).pipe(Effect.scoped, Effect.provide(layer)),
    20_000
  )

  it.live("TOK-25 saves a new refresh token although the access token is missing or unusable", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      for (const access_token of [undefined, null, "", 1, "a\r\nb"]) {
        const { refreshToken } = provider.grant()
        const next = Redacted.value(secret())
        provider.script("token", [Reply.patch({ access_token, refresh_token: next })])
        const credentials = yield* refresh(grantAt(provider.origin), refreshToken)
        assert.strictEqual(Redacted.value(credentials.accessToken), "")
        assert.strictEqual(Redacted.value(credentials.refreshToken!), next)
        assert.deepStrictEqual(credentials.expiresAt, notYet)
      }
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("TOK-25 saves nothing of a refusal, of another token type, or of the very token that was redeemed", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const { refreshToken } = provider.grant()
      const next = Redacted.value(secret())
      const replies: ReadonlyArray<readonly [Reply.Reply, string]> = [
        [Reply.json(200, { error: "invalid_grant", refresh_token: next }), "Terminal"],
        [Reply.json(500, { refresh_token: next }), "Transient"],
        [Reply.json(200, { token_type: "DPoP", refresh_token: next }), "UnknownOutcome"],
        [Reply.json(200, { refresh_token: "a\r\nb" }), "UnknownOutcome"],
        [Reply.json(200, { refresh_token: Redacted.value(refreshToken) }), "UnknownOutcome"]
      ]
      for (const [reply, expected] of replies) {
        provider.script("token", [reply])
        const error = yield* Effect.flip(refresh(grantAt(provider.origin), refreshToken))
        assert.strictEqual(error.reason._tag, expected)
      }
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("FLOW-37 TOK-20 says that nothing was redeemed when nobody listens", () =>
    Effect.gen(function*() {
      const gone = yield* Effect.scoped(FakeProvider.make())
      const error = yield* Effect.flip(refresh(grantAt(gone.origin), secret()))
      assert.strictEqual(error.reason._tag, "Transient")
    }).pipe(Effect.provide(layer)))

  it.live("REF-05 gives up at its deadline: unknown when the request was sent", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      assert.strictEqual((yield* reason(provider, Reply.hang))._tag, "UnknownOutcome")
      assert.strictEqual((yield* reason(provider, Reply.processThenHang))._tag, "UnknownOutcome")
    }).pipe(Effect.scoped, Effect.provide(layerWith({ token: "100 millis" }))))

  it.live("ends the request when it is interrupted", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const ended = yield* Effect.promise(async () => Promise.withResolvers<void>())
      provider.script("token", [
        (exchange) => Effect.sync(() => void exchange.response.once("close", () => ended.resolve()))
      ])
      const fiber = yield* Effect.forkChild(refresh(grantAt(provider.origin), secret()))
      yield* provider.arrived("token")
      yield* Fiber.interrupt(fiber)
      yield* Effect.promise(() => ended.promise)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("TOK-27 lets nothing of an answer into the error that is logged", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const { refreshToken } = provider.grant()
      const echo = { error_description: Redacted.value(refreshToken), access_token: Redacted.value(refreshToken) }
      const replies = [
        Reply.json(400, { error: "invalid_grant", ...echo }),
        Reply.json(200, { token_type: "mac", ...echo }),
        Reply.json(200, { refresh_token: 7, ...echo })
      ]
      for (const reply of replies) {
        provider.script("token", [reply])
        const error = yield* Effect.flip(refresh(grantAt(provider.origin), refreshToken))
        const printed = `${Cause.pretty(Cause.fail(error))} ${String(error.cause)} ${JSON.stringify(error)}`
        assert.notInclude(printed, Redacted.value(refreshToken))
      }
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("S3x.2 TOK-14 I16 sends no secret to where a redirect points", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const evil = yield* FakeProvider.make()
      for (const status of [301, 302, 303, 307, 308]) {
        assert.strictEqual((yield* reason(provider, Reply.redirect(`${evil.origin}/token`, status)))._tag, "Transient")
      }
      assert.isEmpty(evil.log)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("refuses a loopback endpoint that a public resource leads to", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const error = yield* Effect.flip(
        refresh(grantAt(provider.origin, { resource: "https://api.example/" }), secret())
      )
      assert.strictEqual(error.reason._tag, "Transient")
      assert.isEmpty(provider.log)
    }).pipe(Effect.scoped, Effect.provide(layer)))
})

describe("Revocation", () => {
  const revoke = (grant: Grant, token: Redacted.Redacted, clientSecret?: Redacted.Redacted) =>
    AuthorizationServer.use((oauth) => oauth.revoke(grant, { token, hint: "refresh_token", clientSecret }))

  it.live("S2x.13 revokes a token and names its kind", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const { accessToken, refreshToken } = provider.grant()
      assert.strictEqual(yield* revoke(grantAt(provider.origin), refreshToken), "confirmed")
      assert.isFalse(provider.isActive(accessToken))
      // RFC 7009 §2.2: what is void already is a success as well.
      assert.strictEqual(yield* revoke(grantAt(provider.origin), refreshToken), "confirmed")
      assert.deepStrictEqual(Object.fromEntries(provider.requests("revocation")[0]!.form), {
        client_id: "fake-client",
        token: Redacted.value(refreshToken),
        token_type_hint: "refresh_token"
      })
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("tells apart what a server revokes and what it does not, and never asks one without the endpoint", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const { revocationEndpoint: _, ...without } = grantAt(provider.origin)
      assert.strictEqual(yield* revoke(without, secret()), "unsupported")
      assert.isEmpty(provider.log)
      provider.script("revocation", [Reply.error("unsupported_token_type"), Reply.raw({ status: 204 })])
      assert.strictEqual(yield* revoke(grantAt(provider.origin), secret()), "unsupported")
      assert.strictEqual(yield* revoke(grantAt(provider.origin), secret()), "confirmed")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("S2x.13 asks to be tried again after anything else, within its deadline", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const replies = [
        ["revocation_unavailable", Reply.raw({ status: 503 })],
        ["revocation_unavailable", Reply.raw({ status: 429 })],
        ["revocation_refused", Reply.error("invalid_client", 401)],
        ["revocation_refused", Reply.error("invalid_request")],
        ["revocation_unreachable", Reply.reset],
        ["revocation_unreachable", Reply.hang]
      ] as const
      provider.script("revocation", replies.map(([, reply]) => reply))
      for (const [code] of replies) {
        assert.strictEqual((yield* Effect.flip(revoke(grantAt(provider.origin), secret()))).code, code)
      }
      const confidential = grantAt(provider.origin, { authMethod: "client_secret_basic" })
      assert.strictEqual((yield* Effect.flip(revoke(confidential, secret()))).code, "client_secret_missing")
      assert.lengthOf(provider.requests("revocation"), replies.length)
      provider.script("revocation", [Reply.json(503, {}, { "retry-after": "90" })])
      const { retryAfter } = yield* Effect.flip(revoke(grantAt(provider.origin), secret()))
      assert.deepStrictEqual(retryAfter, Duration.seconds(90))
    }).pipe(Effect.scoped, Effect.provide(layerWith({ revocation: "200 millis" }))))
})
