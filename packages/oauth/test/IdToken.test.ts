import { assert, describe, it } from "@effect/vitest"
import { AuthorizationServer } from "@valetkey/domain/AuthorizationServer"
import { IdToken } from "@valetkey/oauth"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Effect, Redacted } from "effect"
import { consent, grantAt, layer, secret, server } from "./internal/world.ts"

const encoded = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url")

/** An ID token as it travels. Nobody looks at the signature. */
const jwt = (claims: unknown, header: unknown = { alg: "RS256", kid: "unknown" }, signature = "c2ln"): string =>
  `${encoded(header)}.${encoded(claims)}.${signature}`

/** The claims that the checks ask for, for an issuer and the client of these tests. */
const claimsOf = (issuer: string, nonce: Redacted.Redacted, now = Math.floor(Date.now() / 1000)) => ({
  iss: issuer,
  sub: "1001",
  aud: "fake-client",
  iat: now,
  exp: now + 300,
  nonce: Redacted.value(nonce)
})

type Claims = Readonly<Record<string, unknown>>

/** A code that the provider answers with an ID token made of good claims. */
const exchange = (make: (claims: Claims) => unknown, asks = true) =>
  Effect.gen(function*() {
    const provider = yield* FakeProvider.make()
    const nonce = secret()
    const { callbackAccepted, code, codeVerifier } = yield* consent(server(provider.resource))
    provider.script("token", [Reply.patch({ id_token: make(claimsOf(provider.issuer, nonce)) })])
    const secrets = { codeVerifier, clientSecret: undefined, ...(asks ? { nonce } : {}) }
    const result = yield* Effect.result(AuthorizationServer.use((oauth) => oauth.exchange(callbackAccepted, secrets)))
    assert.strictEqual(provider.tokenCount(code), 1)
    return { result, issuer: provider.issuer }
  }).pipe(Effect.scoped, Effect.provide(layer))

const accountFrom = Effect.fnUntraced(function*(make: (claims: Claims) => unknown) {
  const { issuer, result } = yield* exchange(make)
  return result._tag === "Success"
    ? { ...result.success.account, issuer: result.success.account?.issuer === issuer }
    : result
})

describe("the ID token of an exchange", () => {
  it.live("names the account, with the first name that a person can read", () =>
    Effect.gen(function*() {
      const names = { preferred_username: "ada", email: "ada@example.org", name: "Ada Lovelace" }
      const cases: ReadonlyArray<readonly [Claims, string | undefined]> = [
        [names, "ada"],
        [{ ...names, preferred_username: " \n" }, "ada@example.org"],
        [{ name: names.name }, "Ada Lovelace"],
        [{ name: 7, email: ["a"] }, undefined]
      ]
      for (const [claims, label] of cases) {
        assert.deepStrictEqual(yield* accountFrom((good) => jwt({ ...good, ...claims })), {
          issuer: true,
          id: "1001",
          ...(label === undefined ? {} : { label })
        })
      }
    }))

  it.live("may be for several audiences when it is for this client, and signed with anything that is a signature", () =>
    Effect.gen(function*() {
      const audiences = { aud: ["other", "fake-client"], azp: "fake-client" }
      assert.propertyVal(yield* accountFrom((good) => jwt({ ...good, ...audiences })), "id", "1001")
      for (const alg of ["ES256", "PS512", "EdDSA", "HS256"]) {
        assert.propertyVal(yield* accountFrom((good) => jwt(good, { alg })), "id", "1001")
      }
    }))

  it.live(
    "TOK-23 that fails a check fails the exchange, and what it said is told to nobody",
    () =>
      Effect.gen(function*() {
        const past = Math.floor(Date.now() / 1000) - 600
        const without = (claim: string) => (good: Claims) => jwt({ ...good, [claim]: undefined })
        const bad: Readonly<Record<string, (good: Claims) => unknown>> = {
          "alg none": (good) => jwt(good, { alg: "none" }, ""),
          "alg None": (good) => jwt(good, { alg: "None" }),
          "no alg": (good) => jwt(good, {}),
          "alg as a list": (good) => jwt(good, { alg: ["RS256"] }),
          "critical extension": (good) => jwt(good, { alg: "RS256", crit: ["exp"] }),
          "another issuer": (good) => jwt({ ...good, iss: "https://other.example" }),
          "issuer with a slash": (good) => jwt({ ...good, iss: `${String(good["iss"])}/` }),
          "no issuer": without("iss"),
          "another audience": (good) => jwt({ ...good, aud: "other" }),
          "no audience": without("aud"),
          "several audiences and no party": (good) => jwt({ ...good, aud: ["fake-client", "other"] }),
          "another party": (good) => jwt({ ...good, aud: ["fake-client", "other"], azp: "other" }),
          expired: (good) => jwt({ ...good, iat: past, exp: past + 300 }),
          "expiry as text": (good) => jwt({ ...good, exp: "9999999999" }),
          "no expiry": without("exp"),
          "not yet": (good) => jwt({ ...good, nbf: past + 6000 }),
          "another nonce": (good) => jwt({ ...good, nonce: "of another flow" }),
          "no nonce": without("nonce"),
          "no subject": without("sub"),
          "subject as a number": (good) => jwt({ ...good, sub: 1001 }),
          "empty subject": (good) => jwt({ ...good, sub: "" }),
          "long subject": (good) => jwt({ ...good, sub: "x".repeat(256) }),
          "subject of two lines": (good) => jwt({ ...good, sub: "1001\nroot" }),
          encrypted: (good) => `${jwt(good)}.x.y`,
          "two parts": (good) => jwt(good).split(".").slice(0, 2).join("."),
          "no JSON": (good) =>
            `${encoded({ alg: "RS256" })}.${Buffer.from(JSON.stringify(good).slice(1)).toString("base64url")}.x`,
          "a list": (good) => jwt([good]),
          text: () => "not a token",
          "a number": () => 7,
          "an object": (good) => good
        }
        for (const [name, make] of Object.entries(bad)) {
          const { result } = yield* exchange((good) => make({ ...good, email: "ada@example.org" }))
          assert.strictEqual(result._tag === "Failure" && result.failure.reason._tag, "UntrustedIdToken", name)
          const told = result._tag === "Failure" ? `${result.failure.message} ${String(result.failure.cause)}` : ""
          assert.notMatch(told, /ada@example|1001|eyJ|of another flow/, name)
        }
      }),
    30_000
  )

  it.live("says to the operator which check it failed", () =>
    Effect.gen(function*() {
      const { result } = yield* exchange((good) => jwt({ ...good, aud: "other" }))
      assert.include(String(result._tag === "Failure" && result.failure.cause), "OAUTH_JWT_CLAIM_COMPARISON_FAILED aud")
    }))

  it.live("TOK-24 is dropped unread when nobody asked for it", () =>
    Effect.gen(function*() {
      for (const make of [(good: Claims) => jwt(good), () => "not a token", () => 7]) {
        const { result } = yield* exchange(make, false)
        assert.strictEqual(result._tag, "Success")
        assert.notProperty(result._tag === "Success" && result.success, "account")
      }
    }))

  it.live("is missed by nobody when the provider sends none", () =>
    Effect.gen(function*() {
      for (const nothing of [undefined, null, ""]) {
        const { result } = yield* exchange(() => nothing)
        assert.strictEqual(result._tag, "Success")
        assert.notProperty(result._tag === "Success" && result.success, "account")
      }
    }))
})

describe("the ID token of a refresh", () => {
  const refreshed = Effect.fnUntraced(function*(provider: FakeProvider.FakeProvider, reply: Reply.Reply) {
    provider.script("token", [reply])
    const { refreshToken } = provider.grant()
    const oauth = yield* AuthorizationServer
    return yield* oauth.refresh(grantAt(provider.origin), { refreshToken, clientSecret: undefined })
  })

  it.live("BIND-13 names whom it claims, also when its time is over and it is the first one again", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const account = { issuer: "https://other.example", id: "1002" }
      const id_token = jwt({ iss: account.issuer, sub: account.id, exp: 1, nonce: "of the first" })
      assert.deepStrictEqual((yield* refreshed(provider, Reply.patch({ id_token }))).account, account)
      // Whoever rotates the refresh token and forgets the access token names somebody as well.
      const forgetful = Reply.patch({ id_token, access_token: undefined })
      assert.deepStrictEqual((yield* refreshed(provider, forgetful)).account, account)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("names nobody when it cannot be read", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const odd = ["", "a.b", "a.b.c", jwt([1]), jwt({ iss: 1, sub: "x" }), jwt({ iss: "x" }), 7, null, {}]
      for (const id_token of [...odd, `${jwt({ iss: "x", sub: "y" })}.d`]) {
        assert.notProperty(yield* refreshed(provider, Reply.patch({ id_token })), "account")
      }
      const long = jwt({ iss: "x", sub: "y", padding: "z".repeat(100_000) })
      assert.isUndefined(IdToken.claimedAccount(long))
    }).pipe(Effect.scoped, Effect.provide(layer)))
})
