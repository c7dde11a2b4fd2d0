import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { createLocalJWKSet } from "jose/jwks/local"
import { SignJWT } from "jose/jwt/sign"
import { exportJWK } from "jose/key/export"
import { generateKeyPair } from "jose/key/generate/keypair"
import { createHmac } from "node:crypto"
import { Authenticator } from "../src/Authenticator.ts"
import * as JwtAuthenticator from "../src/JwtAuthenticator.ts"
import * as LocalAuthenticator from "../src/LocalAuthenticator.ts"
import { jwt, sign } from "./Caller.ts"
import { layer as layerServer } from "./Harness.ts"
import { send } from "./Http.ts"

const layer = JwtAuthenticator.layerSecret(jwt)
const authenticate = (token: string) =>
  Effect.flatMap(Authenticator, (authenticator) => authenticator.authenticate(Redacted.make(token)))
const refused = (token: string) => Effect.map(Effect.flip(authenticate(token)), (error) => error.code)

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url")
const hmac = (secret: string, input: string) => createHmac("sha256", secret).update(input).digest("base64url")
const claims = {
  sub: "ada",
  tenant: "acme",
  iss: jwt.issuer,
  aud: jwt.audience,
  exp: Math.floor(Date.now() / 1000) + 600
}

/** A token with any header, signed as HS256 with the right secret. */
const forge = (header: Readonly<Record<string, unknown>>, body: unknown = claims) => {
  const input = `${encode(header)}.${encode(body)}`
  return `${input}.${hmac(Redacted.value(jwt.secret), input)}`
}

describe("JwtAuthenticator", () => {
  it.effect("S3.28 takes tenant, subject and scopes from the token alone", () =>
    Effect.gen(function*() {
      const principal = yield* authenticate(yield* Effect.promise(() => sign({ scope: "tokens:read unheard:of" })))
      assert.deepStrictEqual([principal.kind, principal.tenant, principal.subject], ["jwt", "acme", "ada"])
      assert.deepStrictEqual(principal.scopes, ["tokens:read"])
    }).pipe(Effect.provide(layer)))

  it.effect("API-03 refuses none, other algorithms, embedded and remote keys, unknown critical headers", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* refused(`${encode({ alg: "none" })}.${encode(claims)}.`), "unauthorized")
      for (
        const header of [
          { alg: "HS512" },
          { alg: "RS256" },
          { alg: "hs256" },
          { alg: "HS256", crit: ["exp2"], exp2: 1 },
          { alg: "HS256", b64: false, crit: ["b64"] }
        ]
      ) assert.strictEqual(yield* refused(forge(header)), "unauthorized", JSON.stringify(header))
      const attacker = "a key that the attacker knows and embeds"
      for (
        const header of [
          { alg: "HS256", jwk: { kty: "oct", k: Buffer.from(attacker).toString("base64url") } },
          { alg: "HS256", jku: "https://attacker.example/jwks", kid: "../../etc/passwd" },
          { alg: "HS256", kid: "' or 1=1 --" }
        ]
      ) {
        const input = `${encode(header)}.${encode(claims)}`
        assert.strictEqual(yield* refused(`${input}.${hmac(attacker, input)}`), "unauthorized")
      }
    }).pipe(Effect.provide(layer)))

  it.effect("API-03 refuses a wrong issuer, audience or time, and a token that says none of it", () =>
    Effect.gen(function*() {
      const now = Math.floor(Date.now() / 1000)
      for (
        const over of [
          { iss: "https://other.example" },
          { aud: "other" },
          { exp: now - 61 },
          { exp: undefined },
          { iss: undefined },
          { aud: undefined },
          { nbf: now + 61 },
          { exp: "soon" }
        ]
      ) {
        const token = yield* Effect.promise(() => sign(over))
        assert.strictEqual(yield* refused(token), "unauthorized", JSON.stringify(over))
      }
    }).pipe(Effect.provide(layer)))

  it.effect("API-03 verifies keys of a set with their own algorithm, and never a public key as a secret", () =>
    Effect.gen(function*() {
      const { privateKey, publicKey } = yield* Effect.promise(() => generateKeyPair("ES256", { extractable: true }))
      const jwk = yield* Effect.promise(() => exportJWK(publicKey))
      const keys = JwtAuthenticator.layerKeys({ ...jwt, key: createLocalJWKSet({ keys: [{ ...jwk, kid: "k1" }] }) })
      yield* Effect.gen(function*() {
        const signed = yield* Effect.promise(() =>
          new SignJWT(claims).setProtectedHeader({ alg: "ES256", kid: "k1" }).sign(privateKey)
        )
        assert.strictEqual((yield* authenticate(signed)).subject, "ada")
        const input = `${encode({ alg: "HS256", kid: "k1" })}.${encode(claims)}`
        assert.strictEqual(yield* refused(`${input}.${hmac(JSON.stringify(jwk), input)}`), "unauthorized")
        assert.strictEqual(yield* refused(yield* Effect.promise(() => sign())), "unauthorized")
      }).pipe(Effect.provide(keys))
    }))

  it.effect("says that it cannot verify when the key set is out of reach", () =>
    Effect.gen(function*() {
      const { privateKey } = yield* Effect.promise(() => generateKeyPair("ES256"))
      const signed = yield* Effect.promise(() =>
        new SignJWT(claims).setProtectedHeader({ alg: "ES256", kid: "k1" }).sign(privateKey)
      )
      assert.strictEqual(yield* refused(signed), "authentication_unavailable")
    }).pipe(Effect.provide(JwtAuthenticator.layerJwks({ ...jwt, url: new URL("http://127.0.0.1:1/jwks") }))))

  it.effect("refuses to work with a secret that can be guessed", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(
        Layer.build(JwtAuthenticator.layerSecret({ ...jwt, secret: Redacted.make("short") }))
      )
      assert.strictEqual(error.code, "weak_secret")
      assert.notInclude(error.message, "short")
    }).pipe(Effect.scoped))

  it.effect("API-04 S3.39 S3.40 S3.41 answers an odd subject or tenant with the same 401 everywhere", () =>
    Effect.gen(function*() {
      const odd = [
        "",
        0,
        -1,
        1.5,
        [],
        {},
        "__proto__",
        "a b",
        "a\u0000b",
        "ä",
        "x".repeat(10_000),
        true,
        null,
        undefined
      ]
      const endpoints = [
        ["POST", "/v1/flows"],
        ["PUT", "/v1/connections/notes"],
        ["DELETE", "/v1/connections/notes"],
        ["POST", "/v1/connections/notes/token"]
      ] as const
      for (const value of odd) {
        for (const claim of ["sub", "tenant"]) {
          const token = yield* Effect.promise(() => sign({ [claim]: value }))
          for (const [method, path] of endpoints) {
            const answer = yield* send(method, path, { token })
            assert.strictEqual(answer.status, 401, `${claim} ${JSON.stringify(value)?.slice(0, 20)}`)
            assert.strictEqual(answer.json["code"], "unauthorized")
          }
        }
      }
    }).pipe(Effect.provide(layerServer())))

  it.effect("remembers a verified token, and not past its end", () =>
    Effect.gen(function*() {
      const authenticator = yield* Authenticator
      const token = yield* Effect.promise(() => sign())
      assert.isUndefined(authenticator.remembered(token))
      yield* authenticator.authenticate(Redacted.make(token))
      assert.strictEqual(authenticator.remembered(token)?.subject, "ada")
      const ended = yield* Effect.promise(() => sign({ exp: Math.floor(Date.now() / 1000) - 10 }))
      yield* authenticator.authenticate(Redacted.make(ended))
      assert.isUndefined(authenticator.remembered(ended))
    }).pipe(Effect.provide(layer)))
})

describe("LocalAuthenticator", () => {
  it.effect("knows the boot token and nothing else", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* authenticate("boot-token-of-this-process")).kind, "local")
      for (const wrong of ["boot-token-of-this-proces", "boot-token-of-this-processs", "BOOT", "x"]) {
        assert.strictEqual(yield* refused(wrong), "unauthorized")
      }
    }).pipe(Effect.provide(LocalAuthenticator.layer({ token: Redacted.make("boot-token-of-this-process") }))))
})
