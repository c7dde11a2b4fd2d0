import { assert, describe, it } from "@effect/vitest"
import { AuthorizationServer } from "@valetkey/domain/AuthorizationServer"
import type { Grant } from "@valetkey/domain/Connection"
import type { SignedResponseTerms } from "@valetkey/domain/SignedResponse"
import { Egress, type EgressRequest } from "@valetkey/egress/Egress"
import { OAuth, SignedResponse } from "@valetkey/oauth"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Deferred, Effect, Fiber, Layer, Redacted, Result } from "effect"
import { TestClock } from "effect/testing"
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
  const { grant, snapshot } = flow.authorization
  const oauth = yield* AuthorizationServer
  const verifying = (asked: SignedResponseTerms, more: Partial<Grant>, token: string) =>
    Effect.result(oauth.verifyResponse({
      ...flow,
      authorization: {
        ...flow.authorization,
        grant: { ...grant, ...more },
        snapshot: { ...snapshot, signedResponse: asked }
      }
    }, { token: Redacted.make(token), state }))
  const verify = (token: string) => verifying(signedResponse, {}, token)
  const verifyBy = (asked: SignedResponseTerms, token: string) => verifying(asked, {}, token)
  const verifyFor = (more: Partial<Grant>, token: string) => verifying(signedResponse, more, token)
  const good: Claims = {
    iss: provider.issuer,
    aud: "fake-client",
    exp: now() + 300,
    state: Redacted.value(state),
    code: "a-code"
  }
  const asked = () => provider.requests("elsewhere").length
  return { provider, verify, verifyBy, verifyFor, good, asked, flow, state, oauth }
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
  it.effect("gives what it says, also for several audiences and after a while, by keys that are fetched once", () =>
    Effect.gen(function*() {
      const { asked, good, verify } = yield* begun()
      for (const more of [{}, { aud: ["someone", "fake-client"] }, { exp: now() - 5 }, { iat: now(), nbf: now() }]) {
        const claims = Result.getOrThrow(yield* verify(jwt({ ...good, ...more })))
        assert.strictEqual(claims.get("code"), "a-code")
        assert.strictEqual(claims.get("iss"), good["iss"])
      }
      assert.strictEqual(asked(), 1)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("DISC-05 gives an error like anything else, once it is verified", () =>
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

  it.effect("DISC-01 DISC-02 DISC-04 is refused for each check that it fails, and says nothing of itself then", () =>
    Effect.gen(function*() {
      const { good, provider, verify } = yield* begun({ algorithms: ["ES256", "RS256"] })
      const without = (claim: string) =>
        jwt(Object.fromEntries(Object.entries(good).filter(([name]) => name !== claim)))
      const [header = "", payload = "", signature = ""] = jwt(good).split(".")
      const unsigned = { alg: "none" }
      const cases: Readonly<Record<string, readonly [token: string, check: string]>> = {
        "alg none with no signature": [`${encoded(unsigned)}.${payload}.`, "its algorithm"],
        "alg none with one": [jwt(good, unsigned), "its algorithm"],
        "no alg": [jwt(good, { alg: undefined }), "its algorithm"],
        "HS256 with the public key": [
          hs256(good, keyPair.publicKey.export({ format: "pem", type: "spki" })),
          "its algorithm"
        ],
        "HS256 with the client's secret": [hs256(good, "client-secret"), "its algorithm"],
        "an algorithm that was not promised": [jwt(good, { alg: "ES384" }), "its algorithm"],
        "the algorithm of another key": [jwt(good, { alg: "RS256" }), "no key of this name and algorithm"],
        "another key of the same name": [jwt(good, {}, other.privateKey), "its signature"],
        "the key of another name": [jwt(good, { kid: "rs" }), "no key of this name and algorithm"],
        "a name that nobody has": [jwt(good, { kid: "unknown" }), "no key of this name and algorithm"],
        "a key of another kind under this name": [
          jwt(good, { alg: "ES256", kid: "rs" }),
          "no key of this name and algorithm"
        ],
        "an extension that nobody knows": [jwt(good, { crit: ["b64"], b64: true }), "an extension"],
        "another payload": [`${header}.${encoded({ ...good, code: "another" })}.${signature}`, "its signature"],
        "another header": [
          `${encoded({ alg: "ES256", kid: "es", typ: "x" })}.${payload}.${signature}`,
          "its signature"
        ],
        "no signature": [`${header}.${payload}.`, "its signature"],
        "another issuer": [jwt({ ...good, iss: "https://evil.example" }), "its claim iss"],
        "the issuer with a slash": [jwt({ ...good, iss: `${String(good["iss"])}/` }), "its claim iss"],
        "the issuer in capitals": [jwt({ ...good, iss: String(good["iss"]).toUpperCase() }), "its claim iss"],
        "no issuer": [without("iss"), "its claim iss"],
        "an issuer that is no text": [jwt({ ...good, iss: [good["iss"]] }), "its claim iss"],
        "another audience": [jwt({ ...good, aud: "another" }), "its claim aud"],
        "other audiences": [jwt({ ...good, aud: ["another", "fake-client-2"] }), "its claim aud"],
        "no audience": [without("aud"), "its claim aud"],
        "a time that is over": [jwt({ ...good, exp: now() - 60 }), "its claim exp"],
        "no end": [without("exp"), "its claim exp"],
        "an end that is no number": [jwt({ ...good, exp: String(now() + 300) }), "its claim exp"],
        "a time to come": [jwt({ ...good, nbf: now() + 600 }), "its claim nbf"],
        "another state": [jwt({ ...good, state: "another" }), "its state"],
        "no state": [without("state"), "its state"],
        "tokens of the implicit flow": [jwt({ ...good, id_token: "e30.e30.e30" }), "tokens that were not asked for"],
        "an encrypted one": [`${header}.${payload}.${payload}.${payload}.${signature}`, "its encryption"],
        "not a JWT": ["not-a-jwt", "its form"],
        "no JSON": [`${header}.${Buffer.from("{").toString("base64url")}.${signature}`, "its form"]
      }
      assert.strictEqual(codeOf(yield* verify(jwt(good))), "verified")
      for (const [name, [token, check]] of Object.entries(cases)) {
        const result = yield* verify(token)
        assert.strictEqual(codeOf(result), "response_untrusted", name)
        const { cause, message } = Result.getOrThrow(Result.flip(result))
        const told = `${message} ${String(cause)}`
        assert.notInclude(told, "a-code", name)
        assert.isTrue(told.endsWith(`fails a check: ${check}`), `${name}: ${told}`)
      }
      assert.strictEqual(provider.requests("elsewhere").length, 1)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("DISC-02 is refused for an algorithm that was not frozen, though a published key made its signature", () =>
    Effect.gen(function*() {
      const signed = (good: Claims) => jwt(good, { alg: "RS256", kid: "rs" }, rsa.privateKey)
      const promised = yield* begun({ algorithms: ["RS256"] })
      assert.strictEqual(codeOf(yield* promised.verify(signed(promised.good))), "verified")
      const { asked, good, verify } = yield* begun()
      assert.strictEqual(codeOf(yield* verify(signed(good))), "response_untrusted")
      assert.strictEqual(asked(), 0)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("waits for another time where the keys cannot be had, and asks for them again after a rest", () =>
    Effect.gen(function*() {
      const { asked, good, provider, verify } = yield* begun()
      const away: ReadonlyArray<readonly [Reply.Reply, requests: number]> = [
        // What may pass is asked for twice.
        [Reply.html(503), 2],
        [Reply.reset, 2],
        [Reply.html(404), 1],
        [Reply.html(429), 1],
        [Reply.redirect("https://elsewhere.example/jwks"), 1],
        [Reply.json(200, { keys: [], more: "x".repeat(200_000) }), 1],
        // What is no key set says nothing of the response either.
        [Reply.html(200), 1],
        [Reply.json(200, []), 1],
        [Reply.json(200, { keys: "none" }), 1],
        [Reply.json(200, { keys: ["none"] }), 1]
      ]
      for (const [index, [reply, requests]] of away.entries()) {
        provider.always("elsewhere", reply)
        const before = asked()
        for (let time = 0; time < 3; time++) {
          assert.strictEqual(codeOf(yield* verify(jwt(good))), "authorization_server_unavailable", String(index))
        }
        assert.strictEqual(asked(), before + requests, String(index))
        yield* TestClock.adjust("5 seconds")
      }
      provider.always("elsewhere", Reply.json(200, keySet))
      const before = asked()
      assert.strictEqual(codeOf(yield* verify(jwt(good))), "verified")
      assert.strictEqual(codeOf(yield* verify(jwt(good))), "verified")
      assert.strictEqual(asked(), before + 1)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("is verified although the first request for the keys fails on its way", () =>
    Effect.gen(function*() {
      for (const passing of [Reply.reset, Reply.html(502)]) {
        const { asked, good, provider, verify } = yield* begun()
        provider.script("elsewhere", [passing])
        assert.strictEqual(codeOf(yield* verify(jwt(good))), "verified")
        assert.strictEqual(asked(), 2)
      }
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("is verified by the keys at hand, whatever a forged one before it named and the place of the keys says now", () =>
    Effect.gen(function*() {
      const { asked, good, provider, verify } = yield* begun()
      const forged = jwt(good, { kid: "unknown" }, other.privateKey)
      assert.strictEqual(codeOf(yield* verify(jwt(good))), "verified")
      provider.always("elsewhere", Reply.html(429))
      yield* TestClock.adjust("61 seconds")
      assert.strictEqual(codeOf(yield* verify(forged)), "authorization_server_unavailable")
      assert.strictEqual(codeOf(yield* verify(jwt(good))), "verified")
      assert.strictEqual(codeOf(yield* verify(forged)), "authorization_server_unavailable")
      assert.strictEqual(asked(), 2)
      yield* TestClock.adjust("5 seconds")
      provider.always("elsewhere", Reply.json(200, { keys: "none" }))
      assert.strictEqual(codeOf(yield* verify(forged)), "authorization_server_unavailable")
      assert.strictEqual(codeOf(yield* verify(jwt(good))), "verified")
      assert.strictEqual(asked(), 3)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("costs one request for keys a minute, however many forged ones name an unknown key", () =>
    Effect.gen(function*() {
      const { asked, good, provider, verify } = yield* begun()
      const gate = yield* Deferred.make<void>()
      provider.script("elsewhere", [Reply.before(Deferred.await(gate), Reply.json(200, keySet))])
      const forged = jwt(good, { kid: "unknown" }, other.privateKey)
      const crowd = Effect.all(Array.from({ length: 20 }, () => verify(forged)), { concurrency: "unbounded" })
      const first = yield* Effect.forkChild(crowd)
      yield* provider.arrived("elsewhere")
      const second = yield* Effect.forkChild(crowd)
      yield* Deferred.succeed(gate, undefined)
      for (const result of [...(yield* Fiber.join(first)), ...(yield* Fiber.join(second))]) {
        assert.strictEqual(codeOf(result), "response_untrusted")
      }
      assert.strictEqual(asked(), 1)
      for (const requests of [1, 2]) {
        yield* TestClock.adjust("59 seconds")
        for (const result of yield* crowd) assert.strictEqual(codeOf(result), "response_untrusted")
        assert.strictEqual(asked(), requests)
        yield* TestClock.adjust("1 second")
        for (const result of yield* crowd) assert.strictEqual(codeOf(result), "response_untrusted")
        assert.strictEqual(asked(), requests + 1)
      }
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("is verified by a key that is younger than the copy of its set after a minute, by one that left it for five at most", () =>
    Effect.gen(function*() {
      const { asked, good, provider, verify } = yield* begun()
      assert.strictEqual(codeOf(yield* verify(jwt(good))), "verified")
      provider.always("elsewhere", Reply.json(200, { keys: [publicJwk(other, "new")] }))
      const young = jwt(good, { kid: "new" }, other.privateKey)
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual(codeOf(yield* verify(young)), "response_untrusted")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(codeOf(yield* verify(young)), "verified")
      assert.strictEqual(asked(), 2)
      assert.strictEqual(codeOf(yield* verify(jwt(good))), "response_untrusted")
      provider.always("elsewhere", Reply.html(404))
      yield* TestClock.adjust("299 seconds")
      assert.strictEqual(codeOf(yield* verify(young)), "verified")
      assert.strictEqual(asked(), 2)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(codeOf(yield* verify(young)), "authorization_server_unavailable")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("gives the keys to everybody who waits for them, though who asked for them first has left", () =>
    Effect.gen(function*() {
      const { asked, good, provider, verify } = yield* begun()
      const gate = yield* Deferred.make<void>()
      provider.script("elsewhere", [Reply.before(Deferred.await(gate), Reply.json(200, keySet))])
      const first = yield* Effect.forkChild(verify(jwt(good)))
      yield* provider.arrived("elsewhere")
      const second = yield* Effect.forkChild(verify(jwt(good)))
      yield* Fiber.interrupt(first)
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual(codeOf(yield* Fiber.join(second)), "verified")
      assert.strictEqual(asked(), 1)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("waits five seconds for keys that do not come", () =>
    Effect.gen(function*() {
      const { good, provider, verify } = yield* begun()
      provider.script("elsewhere", [Reply.hang])
      const waiting = yield* Effect.forkChild(verify(jwt(good)))
      yield* provider.arrived("elsewhere")
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(codeOf(yield* Fiber.join(waiting)), "authorization_server_unavailable")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("is not verified by keys that somebody else may reach, and its grant may not", () =>
    Effect.gen(function*() {
      const { asked, good, verify, verifyFor } = yield* begun()
      assert.strictEqual(codeOf(yield* verify(jwt(good))), "verified")
      const elsewhere = yield* verifyFor({ resource: "https://mcp.example/mcp" }, jwt(good))
      assert.strictEqual(codeOf(elsewhere), "authorization_server_unavailable")
      assert.strictEqual(asked(), 1)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("finds the keys of the hundred places that were asked last at hand", () =>
    Effect.gen(function*() {
      const asked: Array<string> = []
      const execute = ({ url }: EgressRequest) =>
        Effect.sync(() => {
          asked.push(String(url))
          return { status: 200, headers: {}, body: Buffer.from(JSON.stringify(keySet)) }
        })
      // A hundred servers.
      const egress = Egress.of({ admits: () => Effect.void, execute, stream: () => Effect.die("nothing is streamed") })
      const { good, verifyBy } = yield* begun().pipe(
        Effect.provide(OAuth.layer.pipe(Layer.provide(Layer.succeed(Egress, egress))))
      )
      // The keys are looked through, and nothing is computed.
      const unknown = jwt(good, { kid: "unknown" })
      const by = Effect.fnUntraced(function*(place: number) {
        const jwksUri = `http://localhost/jwks/${place}`
        assert.strictEqual(codeOf(yield* verifyBy({ jwksUri, algorithms: ["ES256"] }, unknown)), "response_untrusted")
        return asked.length
      })
      for (let place = 0; place < 100; place++) assert.strictEqual(yield* by(place), place + 1)
      assert.strictEqual(yield* by(0), 100)
      assert.strictEqual(yield* by(100), 101)
      // The one that was asked longest ago made room.
      for (const place of [0, 2, 99]) assert.strictEqual(yield* by(place), 101)
      assert.strictEqual(yield* by(1), 102)
    }).pipe(Effect.scoped))

  it.effect("is not verified by keys from where the guard lets nobody go", () =>
    Effect.gen(function*() {
      const { good, verify } = yield* begun({ jwksUri: "http://169.254.169.254/jwks" })
      assert.strictEqual(codeOf(yield* verify(jwt(good))), "authorization_server_unavailable")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("of a flow that asked for none is not verified at all", () =>
    Effect.gen(function*() {
      const { asked, flow, good, oauth, state } = yield* begun()
      const result = yield* Effect.result(oauth.verifyResponse(flow, { token: Redacted.make(jwt(good)), state }))
      assert.strictEqual(codeOf(result), "response_untrusted")
      assert.strictEqual(asked(), 0)
    }).pipe(Effect.scoped, Effect.provide(layer)))
})
