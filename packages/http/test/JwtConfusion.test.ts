import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { SignJWT } from "jose/jwt/sign"
import { exportJWK } from "jose/key/export"
import { generateKeyPair } from "jose/key/generate/keypair"
import { createHmac, generateKeyPairSync, sign as signBytes } from "node:crypto"
import * as JwtAuthenticator from "../src/JwtAuthenticator.ts"
import { Readiness } from "../src/Readiness.ts"
import * as Routes from "../src/Routes.ts"
import { jwt } from "./Caller.ts"
import { layer as layerSecret, layerWorld } from "./Harness.ts"
import { layerHttp, send } from "./Http.ts"
import { Script } from "./Script.ts"

const now = Math.floor(Date.now() / 1000)
const claims = {
  sub: "ada",
  tenant: "acme",
  scope: "connections:read",
  iss: jwt.issuer,
  aud: jwt.audience,
  exp: now + 600
}
const encode = (value: unknown) =>
  Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url")
const hmac = (secret: string | Buffer, input: string) => createHmac("sha256", secret).update(input).digest("base64url")

const ours = generateKeyPairSync("rsa", { modulusLength: 2048 })
const attacker = generateKeyPairSync("rsa", { modulusLength: 2048 })
const jwk = { ...ours.publicKey.export({ format: "jwk" }), kid: "k1", alg: "RS256", use: "sig" }
const attackerJwk = attacker.publicKey.export({ format: "jwk" })
const pem = ours.publicKey.export({ type: "spki", format: "pem" }).toString()

/** A token with any header, signed with RS256. */
const rs = (header: unknown, body: unknown = claims, key = ours.privateKey) => {
  const input = `${encode(header)}.${encode(body)}`
  return `${input}.${signBytes("sha256", Buffer.from(input), key).toString("base64url")}`
}

/** A token with any header, signed with HS256. */
const hs = (secret: string | Buffer, header: unknown = { alg: "HS256" }, body: unknown = claims) => {
  const input = `${encode(header)}.${encode(body)}`
  return `${input}.${hmac(secret, input)}`
}

/** A server whose callers sign with keys of a published set; `publish` is what the endpoint does. */
const layerJwks = (publish: () => Promise<Response>) =>
  layerHttp(Routes.layerApi()).pipe(
    Layer.provide(Readiness.layerAlways),
    Layer.provide(JwtAuthenticator.layerJwks({
      ...jwt,
      url: new URL("https://issuer.example/jwks"),
      fetch: publish as typeof fetch,
      cooldown: 0
    })),
    Layer.provideMerge(layerWorld())
  )

const status = (token: string) =>
  Effect.map(send("GET", "/v1/connections", { token }), (answer) => [answer.status, answer.json["code"]] as const)

const k1 = { alg: "RS256", kid: "k1" }
const good = rs(k1)
const [head, body, signature] = good.split(".") as [string, string, string]

const corpus: Readonly<Record<string, string>> = {
  "alg none": `${encode({ alg: "none" })}.${encode(claims)}.`,
  "alg None": `${encode({ alg: "None" })}.${encode(claims)}.`,
  "alg nOnE with a signature": `${encode({ alg: "nOnE", kid: "k1" })}.${body}.${signature}`,
  "no alg": rs({ kid: "k1" }),
  "alg as a list": rs({ alg: ["RS256"], kid: "k1" }),
  "alg in lower case": rs({ alg: "rs256", kid: "k1" }),
  "another hash": rs({ alg: "RS512", kid: "k1" }),
  "another padding": rs({ alg: "PS256", kid: "k1" }),
  "the public key as a secret, PEM": hs(pem, { alg: "HS256", kid: "k1" }),
  "the public key as a secret, PEM without its last newline": hs(pem.trimEnd(), { alg: "HS256", kid: "k1" }),
  "the public key as a secret, DER": hs(ours.publicKey.export({ type: "spki", format: "der" }), {
    alg: "HS256",
    kid: "k1"
  }),
  "the public key as a secret, JWK": hs(JSON.stringify(jwk), { alg: "HS256", kid: "k1" }),
  "the public key as a secret, modulus": hs(Buffer.from(String(jwk.n), "base64url"), { alg: "HS256", kid: "k1" }),
  "an empty secret": hs("", { alg: "HS256", kid: "k1" }),
  "an embedded key": rs({ alg: "RS256", jwk: attackerJwk }, claims, attacker.privateKey),
  "an embedded key under our kid": rs({ ...k1, jwk: attackerJwk }, claims, attacker.privateKey),
  "a linked key set": rs({ ...k1, jku: "https://attacker.example/jwks" }, claims, attacker.privateKey),
  "a linked certificate": rs({ ...k1, x5u: "https://attacker.example/cert" }, claims, attacker.privateKey),
  "an embedded certificate": rs({ ...k1, x5c: ["MIIB"] }, claims, attacker.privateKey),
  "kid as a path": rs({ alg: "RS256", kid: "../../../../dev/null" }, claims, attacker.privateKey),
  "kid as SQL": rs({ alg: "RS256", kid: "k1' OR '1'='1" }),
  "kid with NUL": rs({ alg: "RS256", kid: "k1\u0000" }),
  "kid as a URL": rs({ alg: "RS256", kid: "https://attacker.example/key" }, claims, attacker.privateKey),
  "kid as an object": rs({ alg: "RS256", kid: { toString: "k1" } }),
  "kid __proto__": rs({ alg: "RS256", kid: "__proto__" }),
  "an unknown crit": rs({ ...k1, crit: ["urgent"], urgent: true }),
  "an empty crit": rs({ ...k1, crit: [] }),
  "crit b64": rs({ ...k1, b64: false, crit: ["b64"] }),
  "a compressed token": rs({ ...k1, zip: "DEF" }, "not JSON"),
  "an encrypted token": `${encode({ alg: "dir", enc: "A256GCM" })}..${encode("iv")}.${encode("text")}.${encode("tag")}`,
  "expired": rs(k1, { ...claims, exp: now - 61 }),
  "without end": rs(k1, { ...claims, exp: undefined }),
  "an end that is text": rs(k1, { ...claims, exp: String(now + 600) }),
  "an end beyond numbers": rs(k1, JSON.stringify(claims).replace(String(claims.exp), "1e999")),
  "not yet": rs(k1, { ...claims, nbf: now + 61 }),
  "an nbf that is text": rs(k1, { ...claims, nbf: "0" }),
  "another issuer": rs(k1, { ...claims, iss: "https://attacker.example" }),
  "the issuer with a slash": rs(k1, { ...claims, iss: `${jwt.issuer}/` }),
  "the issuer in a list": rs(k1, { ...claims, iss: [jwt.issuer, "https://attacker.example"] }),
  "no issuer": rs(k1, { ...claims, iss: undefined }),
  "another audience": rs(k1, { ...claims, aud: "valetkeys" }),
  "other audiences": rs(k1, { ...claims, aud: ["a", "b"] }),
  "no audience in the list": rs(k1, { ...claims, aud: [] }),
  "an audience in an object": rs(k1, { ...claims, aud: { [jwt.audience]: true } }),
  "no audience": rs(k1, { ...claims, aud: undefined }),
  "no subject": rs(k1, { ...claims, sub: undefined }),
  "no tenant": rs(k1, { ...claims, tenant: undefined }),
  "tenants in a list": rs(k1, { ...claims, tenant: ["acme", "rival"] }),
  "a subject with NUL": rs(k1, { ...claims, sub: "ada\u0000" }),
  "a subject with a zero-width space": rs(k1, { ...claims, sub: "a\u200bda" }),
  "a subject in Cyrillic": rs(k1, { ...claims, sub: "\u0430da" }),
  "a subject in full width": rs(k1, { ...claims, sub: "\uff41da" }),
  "a tenant that is not composed": rs(k1, { ...claims, tenant: "acme\u0301" }),
  "a subject with a lone surrogate": rs(k1, JSON.stringify(claims).replace("\"ada\"", "\"\\ud800\"")),
  "a subject that turns around": rs(k1, { ...claims, sub: "\u202eada" }),
  "a claim twice": rs(k1, JSON.stringify(claims).replace("{", "{\"sub\":\"eve\",")),
  "a claim twice, escaped": rs(k1, JSON.stringify(claims).replace("{", "{\"\\u0074enant\":\"rival\",")),
  "a header twice": rs(JSON.stringify(k1).replace("{", "{\"alg\":\"none\",")),
  "claims that are a list": rs(k1, [claims]),
  "claims that are no JSON": rs(k1, "{"),
  "oversized": rs(k1, { ...claims, padding: "x".repeat(9000) }),
  "no signature": `${head}.${body}.`,
  "another signature": `${head}.${body}.${rs(k1, { ...claims, sub: "eve" }).split(".")[2]}`,
  "another body under the signature": `${head}.${encode({ ...claims, sub: "eve" })}.${signature}`,
  "two parts": `${head}.${body}`,
  "four parts": `${good}.${signature}`,
  "garbage behind": `${good}!`
}

describe("JWT confusion", () => {
  it.effect("API-03 answers every confused token with the same 401 over HTTP, and asks no store", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* status(good))[0], 200)
      const { calls } = yield* Script
      const before = calls.length
      for (const [name, token] of Object.entries(corpus)) {
        assert.deepStrictEqual(yield* status(token), [401, "unauthorized"], name)
      }
      assert.deepStrictEqual(calls.slice(before), [])
    }).pipe(Effect.provide(layerJwks(async () => Response.json({ keys: [jwk] })))))

  it.effect("API-03 reads the key set from its own address alone, whatever a token links to", () => {
    const read: Array<string> = []
    const publish = (async (url: string) => {
      read.push(url)
      return Response.json({ keys: [jwk] })
    }) as unknown as () => Promise<Response>
    return Effect.gen(function*() {
      for (const name of ["a linked key set", "a linked certificate", "kid as a URL"]) yield* status(corpus[name]!)
      assert.deepStrictEqual([...new Set(read)], ["https://issuer.example/jwks"])
    }).pipe(Effect.provide(layerJwks(publish)))
  })

  it.effect("API-03 takes our audience among others, and 60 seconds of skew at most", () =>
    Effect.gen(function*() {
      for (
        const over of [{ aud: ["other", jwt.audience] }, { exp: now - 5 }, { nbf: now + 5 }, { extra: { deep: [1] } }]
      ) {
        assert.strictEqual((yield* status(rs(k1, { ...claims, ...over })))[0], 200, JSON.stringify(over))
      }
    }).pipe(Effect.provide(layerJwks(async () => Response.json({ keys: [jwk] })))))

  it.effect("API-03 takes none of it with a shared secret either", () =>
    Effect.gen(function*() {
      const secret = Redacted.value(jwt.secret)
      assert.strictEqual((yield* status(hs(secret)))[0], 200)
      const twice = JSON.stringify(claims).replace("{", "{\"tenant\":\"rival\",")
      for (const [name, token] of Object.entries({ ...corpus, good, twice: hs(secret, { alg: "HS256" }, twice) })) {
        assert.deepStrictEqual(yield* status(token), [401, "unauthorized"], name)
      }
    }).pipe(Effect.provide(layerSecret())))

  it.effect("API-03 finds a rotated key by itself, and forgets the one that was taken away with the next reading", () => {
    let keys: ReadonlyArray<unknown> = [jwk]
    return Effect.gen(function*() {
      const next = yield* Effect.promise(() => generateKeyPair("ES256"))
      const signed = (sub: string) =>
        Effect.promise(() =>
          new SignJWT({ ...claims, sub }).setProtectedHeader({ alg: "ES256", kid: "k2" }).sign(next.privateKey)
        )
      assert.strictEqual((yield* status(good))[0], 200)
      assert.strictEqual((yield* status(yield* signed("early")))[0], 401)
      keys = [{ ...(yield* Effect.promise(() => exportJWK(next.publicKey))), kid: "k2", alg: "ES256" }]
      assert.strictEqual((yield* status(yield* signed("ada")))[0], 200)
      assert.strictEqual((yield* status(rs(k1, { ...claims, sub: "late" })))[0], 401)
    }).pipe(Effect.provide(layerJwks(async () => Response.json({ keys }))))
  })

  it.effect("answers 503 and lets nobody in while the key set is out of reach or is none", () =>
    Effect.gen(function*() {
      const broken: ReadonlyArray<() => Promise<Response>> = [
        () => Promise.reject(new Error("refused")),
        async () => new Response("", { status: 302, headers: { location: "https://attacker.example/jwks" } }),
        async () => new Response("busy", { status: 503 }),
        async () => new Response("<html>"),
        async () => Response.json({ keys: "none" })
      ]
      for (const publish of broken) {
        const answer = yield* Effect.provide(
          send("GET", "/v1/connections", { token: good }),
          layerJwks(publish),
          { local: true }
        )
        assert.deepStrictEqual([answer.status, answer.json["code"]], [503, "authentication_unavailable"])
        assert.strictEqual(answer.headers.get("retry-after"), "5")
      }
    }))
})
