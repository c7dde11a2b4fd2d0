import { assert, describe, it } from "@effect/vitest"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Deferred, Effect, Exit, Fiber, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { authorizationUrl, getJson, obtain, pkce, postForm, redirectUri, refresh } from "./internal/plainClient.ts"

const client = { clientId: "fake-client" }
const redeem = (provider: FakeProvider.FakeProvider, refreshToken: string) =>
  refresh({ token_endpoint: `${provider.issuer}/token` }, refreshToken, "fake-client")
const post = (provider: FakeProvider.FakeProvider, refreshToken: string) =>
  Effect.tryPromise((signal) =>
    fetch(`${provider.issuer}/token`, {
      method: "POST",
      body: new URLSearchParams({
        grant_type: "refresh_token",
        client_id: "fake-client",
        refresh_token: refreshToken
      }),
      redirect: "manual",
      signal
    })
  )

describe("FakeProvider as an honest server", () => {
  it.live("plays code with PKCE, refresh and the resource, issues canaries and counts what arrives", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const { callback, code, tokens } = yield* obtain(provider.issuer, client)
      assert.strictEqual(callback.searchParams.get("iss"), provider.issuer)
      assert.strictEqual(callback.searchParams.get("state"), "state-of-the-test")
      for (const secret of [code, tokens.access_token, tokens.refresh_token]) assert.match(secret, /^CANARY-/)
      const call = yield* Effect.promise(() =>
        fetch(`${provider.resource}/me`, { headers: { authorization: `Bearer ${tokens.access_token}` } })
      )
      assert.strictEqual(call.status, 200)
      yield* redeem(provider, tokens.refresh_token)
      assert.strictEqual((yield* redeem(provider, tokens.refresh_token)).body["error"], "invalid_grant")
      assert.strictEqual(provider.tokenCount(tokens.refresh_token), 2)
      assert.strictEqual(provider.tokenCount(Redacted.make(code)), 1)
      assert.strictEqual(provider.maxTokenCount(), 2)
      assert.deepStrictEqual(
        provider.log.map(({ endpoint, status }) => `${endpoint} ${status}`),
        ["serverMetadata 200", "authorization 302", "token 200", "resource 200", "token 200", "token 400"]
      )
    }).pipe(Effect.scoped))

  it.live("refuses a code without its verifier, and revokes its tokens when it comes back", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const url = authorizationUrl(`${provider.issuer}/authorize`, pkce().challenge, client)
      const callback = yield* UserAgent.make().callbackUrl(url, redirectUri)
      const attempt = { grant_type: "authorization_code", client_id: "fake-client", redirect_uri: redirectUri }
      const code = callback.searchParams.get("code") ?? ""
      const wrong = yield* postForm(`${provider.issuer}/token`, { ...attempt, code, code_verifier: "wrong" })
      assert.strictEqual(wrong.body["error"], "invalid_grant")
      const good = yield* obtain(provider.issuer, client)
      yield* postForm(`${provider.issuer}/token`, { ...attempt, code: good.code, code_verifier: good.verifier })
      assert.isFalse(provider.isActive(good.tokens.access_token))
    }).pipe(Effect.scoped))

  it.effect("rotates by its mode, with a grace on the clock of the test", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make({ rotation: { graceSeconds: 10 } })
      const first = Redacted.value(provider.grant().refreshToken)
      assert.strictEqual((yield* redeem(provider, first)).status, 200)
      assert.strictEqual((yield* redeem(provider, first)).status, 200)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* redeem(provider, first)).status, 400)

      provider.behaviour.rotation = "rotate-revoke-family"
      const second = Redacted.value(provider.grant().refreshToken)
      const winner = yield* redeem(provider, second)
      yield* redeem(provider, second)
      assert.strictEqual((yield* redeem(provider, String(winner.body["refresh_token"]))).body["error"], "invalid_grant")
      assert.isTrue(provider.families.at(-1)?.revoked)

      provider.behaviour.rotation = "none"
      const third = Redacted.value(provider.grant().refreshToken)
      assert.strictEqual((yield* redeem(provider, third)).body["refresh_token"], third)

      const { accessToken } = provider.grant()
      yield* TestClock.adjust("1 hour")
      assert.isFalse(provider.isActive(accessToken))
    }).pipe(Effect.scoped))

  it.live("registers confidential clients, revokes, introspects, pushes and plays devices", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make({ issuerPath: "/tenant" })
      const metadata = yield* getJson(`${provider.origin}/.well-known/oauth-authorization-server/tenant`)
      assert.strictEqual(metadata["issuer"], `${provider.origin}/tenant`)
      const registered = yield* Effect.promise(async () => {
        const response = await fetch(metadata["registration_endpoint"] ?? "", {
          method: "POST",
          body: JSON.stringify({ redirect_uris: [redirectUri] })
        })
        return await response.json() as { readonly client_id: string; readonly client_secret: string }
      })
      const secret = { client_id: registered.client_id, client_secret: registered.client_secret }
      const device = yield* postForm(metadata["device_authorization_endpoint"] ?? "", secret)
      const poll = postForm(metadata["token_endpoint"] ?? "", {
        ...secret,
        grant_type: "urn:ietf:params:oauth:grant-type:device_code",
        device_code: String(device.body["device_code"])
      })
      assert.strictEqual((yield* poll).body["error"], "authorization_pending")
      provider.answerDevices("approved")
      const granted = yield* poll
      assert.strictEqual(granted.status, 200)
      const stolen = yield* postForm(metadata["token_endpoint"] ?? "", { ...secret, client_secret: "wrong" })
      assert.deepStrictEqual([stolen.status, stolen.body["error"]], [401, "invalid_client"])
      const pushed = yield* postForm(metadata["pushed_authorization_request_endpoint"] ?? "", {
        ...secret,
        response_type: "code",
        redirect_uri: redirectUri,
        code_challenge: pkce().challenge,
        code_challenge_method: "S256"
      })
      const url = new URL(metadata["authorization_endpoint"] ?? "")
      url.searchParams.set("client_id", registered.client_id)
      url.searchParams.set("request_uri", String(pushed.body["request_uri"]))
      assert.isString((yield* UserAgent.make().callbackUrl(url, redirectUri)).searchParams.get("code"))
      const token = String(granted.body["access_token"])
      const introspect = postForm(metadata["introspection_endpoint"] ?? "", { ...secret, token })
      assert.isTrue((yield* introspect).body["active"])
      yield* Effect.promise(() =>
        fetch(metadata["revocation_endpoint"] ?? "", {
          method: "POST",
          body: new URLSearchParams({ ...secret, token })
        })
      )
      assert.isFalse((yield* introspect).body["active"])
    }).pipe(Effect.scoped))

  it.live("denies, and challenges with metadata and scopes", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make({
        consent: { error: "access_denied" },
        iss: { wrong: "https://evil.test" }
      })
      const url = authorizationUrl(`${provider.issuer}/authorize`, pkce().challenge, client)
      const callback = yield* UserAgent.make().callbackUrl(url, redirectUri)
      assert.strictEqual(callback.searchParams.get("error"), "access_denied")
      assert.strictEqual(callback.searchParams.get("iss"), "https://evil.test")
      const call = (token?: string) =>
        Effect.promise(() =>
          fetch(provider.resource, token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } })
        )
      const challenge = yield* call()
      assert.strictEqual(challenge.status, 401)
      const at = /resource_metadata="([^"]+)"/.exec(challenge.headers.get("www-authenticate") ?? "")?.[1] ?? ""
      assert.strictEqual((yield* getJson(at))["resource"], provider.resource)
      const narrow = yield* call(Redacted.value(provider.grant({ scopes: [] }).accessToken))
      assert.include(narrow.headers.get("www-authenticate") ?? "", "insufficient_scope")
    }).pipe(Effect.scoped))

  it.live("trusts the tokens of another provider", () =>
    Effect.gen(function*() {
      const issuer = yield* FakeProvider.make()
      const resource = yield* FakeProvider.make({ issuedBy: issuer })
      const metadata = yield* getJson(`${resource.origin}/.well-known/oauth-protected-resource/api`)
      assert.deepStrictEqual(metadata["authorization_servers"] as unknown, [issuer.issuer])
      const call = (token: Redacted.Redacted) =>
        Effect.promise(() =>
          fetch(resource.resource, { headers: { authorization: `Bearer ${Redacted.value(token)}` } })
        )
      assert.strictEqual((yield* call(issuer.grant().accessToken)).status, 200)
      assert.strictEqual((yield* call(resource.grant().accessToken)).status, 401)
    }).pipe(Effect.scoped))
})

describe("FakeProvider by script", () => {
  it.live("holds a request before or after processing until the gate opens", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const gate = yield* Deferred.make<void>()
      const one = Redacted.value(provider.grant().refreshToken)
      const two = Redacted.value(provider.grant().refreshToken)
      provider.script("token", [Reply.before(Deferred.await(gate)), Reply.after(Deferred.await(gate))])
      const fibers = yield* Effect.forEach([one, two], (token, index) =>
        Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(redeem(provider, token))
          yield* provider.arrived("token", index + 1)
          return fiber
        }))
      assert.deepStrictEqual(provider.families.map(({ refreshTokens }) => refreshTokens.length), [1, 2])
      assert.strictEqual(provider.maxConcurrentTokenRequests(), 2)
      yield* Deferred.succeed(gate, undefined)
      const answers = yield* Effect.forEach(fibers, Fiber.join)
      assert.deepStrictEqual(answers.map(({ status }) => status), [200, 200])
    }).pipe(Effect.scoped))

  it.live("processes and resets, so that the state changed and nobody was told", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const token = Redacted.value(provider.grant().refreshToken)
      provider.script("token", [Reply.processThenReset, Reply.reset])
      assert.isTrue(Exit.isFailure(yield* Effect.exit(post(provider, token))))
      assert.strictEqual(provider.families[0]?.refreshTokens.length, 2)
      const current = provider.families[0]?.refreshTokens[1] ?? ""
      assert.isTrue(Exit.isFailure(yield* Effect.exit(post(provider, current))))
      assert.strictEqual(provider.families[0]?.refreshTokens.length, 2)
      assert.isUndefined(provider.requests("token")[0]?.status)
      assert.strictEqual((yield* redeem(provider, current)).status, 200)
    }).pipe(Effect.scoped))

  it.live("answers in every broken way", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make({ rotation: "none" })
      const token = Redacted.value(provider.grant().refreshToken)
      const answer = (reply: Reply.Reply) =>
        Effect.gen(function*() {
          provider.script("token", [reply])
          const response = yield* post(provider, token)
          const body = yield* Effect.exit(Effect.tryPromise(() => response.text()))
          return {
            status: response.status,
            type: response.headers.get("content-type"),
            location: response.headers.get("location"),
            body: Exit.isSuccess(body) ? body.value : undefined
          }
        })
      assert.deepInclude(yield* answer(Reply.error("bad_refresh_token", 200)), { status: 200 })
      assert.deepInclude(yield* answer(Reply.html(403)), { status: 403, type: "text/html" })
      assert.deepInclude(yield* answer(Reply.redirect("http://127.0.0.1:1/steal")), {
        status: 307,
        location: "http://127.0.0.1:1/steal"
      })
      const patched = yield* answer(Reply.patch({ expires_in: "3600abc", refresh_token: undefined }))
      assert.deepInclude(JSON.parse(patched.body ?? ""), { expires_in: "3600abc" })
      assert.notProperty(JSON.parse(patched.body ?? ""), "refresh_token")
      assert.strictEqual(
        new URLSearchParams((yield* answer(Reply.formEncoded)).body).get("refresh_token"),
        token
      )
      assert.isUndefined((yield* answer(Reply.shortRead)).body)
      const truncated = yield* answer(Reply.truncated)
      assert.throws(() => JSON.parse(truncated.body ?? ""), SyntaxError)
      assert.deepInclude(yield* answer(Reply.contentType("text/plain")), { type: "text/plain" })
      assert.deepInclude(yield* answer(Reply.body("nonsense")), { body: "nonsense" })
      assert.strictEqual((yield* answer(Reply.gzipBomb(8))).body?.length, 8 << 20)
      assert.property(JSON.parse((yield* answer(Reply.drip("1 millis"))).body ?? ""), "access_token")
      assert.deepInclude(yield* answer(Reply.json(503, {}, { "retry-after": "7" })), { status: 503 })
      assert.deepInclude(yield* answer(Reply.normal), { status: 200 })
    }).pipe(Effect.scoped))

  it.live("sends without end until the reader goes", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      provider.script("token", [Reply.endless])
      const response = yield* post(provider, "any")
      const total = yield* Effect.promise(async () => {
        let bytes = 0
        for await (const chunk of response.body ?? []) {
          bytes += (chunk as Uint8Array).length
          if (bytes > 1 << 22) break
        }
        return bytes
      })
      assert.isAbove(total, 1 << 22)
    }).pipe(Effect.scoped))

  it.live("lies in its metadata until it is healed", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const url = `${provider.origin}/.well-known/oauth-authorization-server`
      provider.always(
        "serverMetadata",
        Reply.patch({ issuer: "https://evil.test", code_challenge_methods_supported: undefined })
      )
      const lie = yield* getJson(url)
      assert.strictEqual(lie["issuer"], "https://evil.test")
      assert.notProperty(lie, "code_challenge_methods_supported")
      provider.heal()
      assert.strictEqual((yield* getJson(url))["issuer"], provider.issuer)
    }).pipe(Effect.scoped))

  it.live("ends with its scope although a request hangs", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.scoped(Effect.gen(function*() {
        const provider = yield* FakeProvider.make()
        provider.always("token", Reply.hang)
        const fiber = yield* Effect.forkDetach(Effect.exit(post(provider, "any")))
        yield* provider.arrived("token")
        return fiber
      }))
      assert.isTrue(Exit.isFailure(yield* Fiber.join(fiber)))
    }))
})
