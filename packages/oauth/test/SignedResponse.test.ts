import { assert, describe, it } from "@effect/vitest"
import { AuthorizationServer } from "@valetkey/domain/AuthorizationServer"
import type { SignedResponseTerms } from "@valetkey/domain/SignedResponse"
import { SignedResponse } from "@valetkey/oauth"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Effect, Redacted, Result } from "effect"
import { createHmac, generateKeyPairSync, type KeyObject, sign } from "node:crypto"
import { accepted, grantAt, layer, secret } from "./internal/world.ts"

const keyPair = generateKeyPairSync("ec", { namedCurve: "P-256" })
const other = generateKeyPairSync("ec", { namedCurve: "P-256" })
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 })

const publicJwk = ({ publicKey }: { readonly publicKey: KeyObject }, kid: string) => ({
  ...publicKey.export({ format: "jwk" }),
  kid,
  use: "sig"
})
const keySet = { keys: [publicJwk(keyPair, "es"), publicJwk(rsa, "rs")] }

const encoded = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url")

type Claims = Readonly<Record<string, unknown>>

/** A token as the authorization server would sign it, unless a header or a key says otherwise. */
const jwt = (claims: Claims, header: Claims = {}, key = keyPair.privateKey): string => {
  const input = `${encoded({ alg: "ES256", kid: "es", ...header })}.${encoded(claims)}`
  return `${input}.${sign("sha256", Buffer.from(input), { key, dsaEncoding: "ieee-p1363" }).toString("base64url")}`
}

/** A token that is authenticated with what everybody knows, or with what two know. */
const hs256 = (claims: Claims, shared: string | Buffer): string => {
  const input = `${encoded({ alg: "HS256", kid: "es" })}.${encoded(claims)}`
  return `${input}.${createHmac("sha256", shared).update(input).digest("base64url")}`
}

const now = () => Math.floor(Date.now() / 1000)

/** A provider that publishes its keys, a flow that asked it for a signed response, and the claims of a good one. */
const begun = Effect.fnUntraced(function*(terms: Partial<SignedResponseTerms> = {}) {
  const provider = yield* FakeProvider.make()
  provider.always("elsewhere", Reply.json(200, keySet))
  const state = secret()
  const { flow } = accepted(grantAt(provider.issuer), secret())
  const signedResponse: SignedResponseTerms = {
    jwksUri: `${provider.issuer}/jwks`,
    algorithms: ["ES256"],
    ...terms
  }
  const { snapshot } = flow.authorization
  const promised = {
    ...flow,
    authorization: { ...flow.authorization, snapshot: { ...snapshot, signedResponse } }
  }
  const oauth = yield* AuthorizationServer
  const verify = (token: string) =>
    Effect.result(oauth.verifyResponse(promised, { token: Redacted.make(token), state }))
  const good: Claims = {
    iss: provider.issuer,
    aud: "fake-client",
    exp: now() + 300,
    state: Redacted.value(state),
    code: "a-code"
  }
  const asked = () => provider.requests("elsewhere").length
  return { provider, verify, good, asked, flow, state, oauth }
})

const codeOf = <A>(result: Result.Result<A, { readonly code: string }>) =>
  Result.isFailure(result) ? result.failure.code : "verified"

describe("the offer of signed responses", () => {
  const modes = ["query", "form_post.jwt", "jwt"]
  const offer = (members: Claims, resource = "https://mcp.example/mcp") =>
    SignedResponse.offeredBy({
      issuer: "https://as.example",
      token_endpoint: "https://as.example/token",
      ...members
    }, resource)
  const jwks = { jwks_uri: "https://keys.example/jwks" }

  it("is what metadata says that can be asked for and verified; RS256 where it names no algorithm", () => {
    const named = { ...jwks, authorization_signing_alg_values_supported: ["none", "HS256", "RS256", "EdDSA", "X"] }
    assert.deepStrictEqual(offer({ response_modes_supported: [...modes, "query.jwt"], ...named }), {
      mode: "query.jwt",
      alone: false,
      jwksUri: jwks.jwks_uri,
      algorithms: ["EdDSA", "RS256"]
    })
    assert.deepStrictEqual(offer({ response_modes_supported: ["jwt"], ...jwks }), {
      mode: "jwt",
      alone: true,
      jwksUri: jwks.jwks_uri,
      algorithms: ["RS256"]
    })
    assert.deepStrictEqual(
      offer({ ...jwks, response_modes_supported: modes, authorization_signing_alg_values_supported: ["none", "HS256"] })
        ?.algorithms,
      []
    )
  })

  it("is none, and no reason to refuse a server, where what is said is nothing or nonsense", () => {
    for (
      const said of [undefined, [], ["query"], ["form_post.jwt", "fragment.jwt"], "query.jwt", [["jwt"]], { jwt: 1 }]
    ) {
      assert.isUndefined(offer({ ...jwks, response_modes_supported: said }))
    }
  })

  it("has no keys on this machine or over plain http where the resource is elsewhere", () => {
    const places = [
      "javascript:alert(1)",
      7,
      "http://keys.example/jwks",
      "https://localhost/jwks"
    ]
    for (const place of places) {
      assert.notProperty(offer({ response_modes_supported: modes, jwks_uri: place }), "jwksUri", String(place))
    }
  })
})

describe("a signed authorization response", () => {
  it.live("gives what it says, also for several audiences and after a while, by keys that are fetched once", () =>
    Effect.gen(function*() {
      const { asked, good, verify } = yield* begun()
      for (const more of [{}, { aud: ["someone", "fake-client"] }, { exp: now() - 5 }, { iat: now(), nbf: now() }]) {
        const claims = Result.getOrThrow(yield* verify(jwt({ ...good, ...more })))
        assert.strictEqual(claims.get("code"), "a-code")
        assert.strictEqual(claims.get("iss"), good["iss"])
      }
      assert.strictEqual(asked(), 1)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("DISC-05 gives an error like anything else, once it is verified", () =>
    Effect.gen(function*() {
      const { good, verify } = yield* begun()
      const { code: _, ...rest } = good
      const denied = { ...rest, error: "access_denied", error_description: "no" }
      assert.strictEqual(Result.getOrThrow(yield* verify(jwt(denied))).get("error"), "access_denied")
      const both = Result.getOrThrow(yield* verify(jwt({ ...good, error: "access_denied" })))
      assert.deepStrictEqual([both.get("error"), both.get("code")], ["access_denied", "a-code"])
      for (const forged of [jwt(denied, {}, other.privateKey), jwt({ ...denied, iss: "https://evil.example" })]) {
        assert.strictEqual(codeOf(yield* verify(forged)), "response_untrusted")
      }
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("DISC-01 DISC-02 DISC-04 is refused for each check that it fails, and says nothing of itself then", () =>
    Effect.gen(function*() {
      const { good, provider, verify } = yield* begun({ algorithms: ["ES256", "RS256"] })
      const without = (claim: string) =>
        jwt(Object.fromEntries(Object.entries(good).filter(([name]) => name !== claim)))
      const [header = "", payload = "", signature = ""] = jwt(good).split(".")
      const unsigned = { alg: "none" }
      const cases: Readonly<Record<string, string>> = {
        "alg none with no signature": `${encoded(unsigned)}.${payload}.`,
        "alg none with one": jwt(good, unsigned),
        "no alg": jwt(good, { alg: undefined }),
        "HS256 with the public key": hs256(good, keyPair.publicKey.export({ format: "pem", type: "spki" })),
        "HS256 with the client's secret": hs256(good, "client-secret"),
        "an algorithm that was not promised": jwt(good, { alg: "ES384" }),
        "the algorithm of another key": jwt(good, { alg: "RS256" }),
        "another key of the same name": jwt(good, {}, other.privateKey),
        "the key of another name": jwt(good, { kid: "rs" }),
        "a name that nobody has": jwt(good, { kid: "unknown" }),
        "an extension that nobody knows": jwt(good, { crit: ["b64"], b64: true }),
        "another payload": `${header}.${encoded({ ...good, code: "another" })}.${signature}`,
        "another header": `${encoded({ alg: "ES256", kid: "es", typ: "x" })}.${payload}.${signature}`,
        "no signature": `${header}.${payload}.`,
        "another issuer": jwt({ ...good, iss: "https://evil.example" }),
        "the issuer with a slash": jwt({ ...good, iss: `${String(good["iss"])}/` }),
        "the issuer in capitals": jwt({ ...good, iss: String(good["iss"]).toUpperCase() }),
        "no issuer": without("iss"),
        "an issuer that is no text": jwt({ ...good, iss: [good["iss"]] }),
        "another audience": jwt({ ...good, aud: "another" }),
        "other audiences": jwt({ ...good, aud: ["another", "fake-client-2"] }),
        "no audience": without("aud"),
        "a time that is over": jwt({ ...good, exp: now() - 60 }),
        "no end": without("exp"),
        "an end that is no number": jwt({ ...good, exp: String(now() + 300) }),
        "a time to come": jwt({ ...good, nbf: now() + 600 }),
        "another state": jwt({ ...good, state: "another" }),
        "no state": without("state"),
        "tokens of the implicit flow": jwt({ ...good, id_token: "e30.e30.e30" }),
        "an encrypted one": `${header}.${payload}.${payload}.${payload}.${signature}`,
        "not a JWT": "not-a-jwt",
        "no JSON": `${header}.${Buffer.from("{").toString("base64url")}.${signature}`
      }
      assert.strictEqual(codeOf(yield* verify(jwt(good))), "verified")
      for (const [name, token] of Object.entries(cases)) {
        const result = yield* verify(token)
        assert.strictEqual(codeOf(result), "response_untrusted", name)
        const { cause, message } = Result.getOrThrow(Result.flip(result))
        const told = `${message} ${String(cause)}`
        assert.notInclude(told, "a-code", name)
        assert.match(told, /fails a check: [\w ]+$/, name)
      }
      assert.strictEqual(provider.requests("elsewhere").length, 1)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("waits for another time where the keys cannot be had, and asks for them again then", () =>
    Effect.gen(function*() {
      const { asked, good, provider, verify } = yield* begun()
      const away: ReadonlyArray<Reply.Reply> = [
        Reply.html(503),
        Reply.html(404),
        Reply.reset,
        Reply.redirect("https://elsewhere.example/jwks"),
        Reply.json(200, { keys: [], more: "x".repeat(200_000) })
      ]
      for (const [index, reply] of away.entries()) {
        provider.script("elsewhere", [reply])
        assert.strictEqual(codeOf(yield* verify(jwt(good))), "authorization_server_unavailable", String(index))
      }
      for (const reply of [Reply.json(200, { keys: "none" }), Reply.json(200, []), Reply.html(200)]) {
        provider.script("elsewhere", [reply])
        assert.strictEqual(codeOf(yield* verify(jwt(good))), "response_untrusted")
      }
      const before = asked()
      assert.strictEqual(codeOf(yield* verify(jwt(good))), "verified")
      assert.strictEqual(codeOf(yield* verify(jwt(good))), "verified")
      assert.strictEqual(asked(), before + 1)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("is not verified by keys from where the guard lets nobody go", () =>
    Effect.gen(function*() {
      const { good, verify } = yield* begun({ jwksUri: "http://169.254.169.254/jwks" })
      assert.strictEqual(codeOf(yield* verify(jwt(good))), "authorization_server_unavailable")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("of a flow that asked for none is not verified at all", () =>
    Effect.gen(function*() {
      const { asked, flow, good, oauth, state } = yield* begun()
      const result = yield* Effect.result(oauth.verifyResponse(flow, { token: Redacted.make(jwt(good)), state }))
      assert.strictEqual(codeOf(result), "response_untrusted")
      assert.strictEqual(asked(), 0)
    }).pipe(Effect.scoped, Effect.provide(layer)))
})
