import { assert, describe, it } from "@effect/vitest"
import { AuthorizationServer, type AuthorizationServerMetadata } from "@valetkey/domain/AuthorizationServer"
import { publicKeyOf } from "@valetkey/domain/SigningKey"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect, Redacted } from "effect"
import { generateKeyPairSync } from "node:crypto"
import { accepted, consent, grantAt, layer, redirectUri, secret, server } from "./internal/world.ts"

const keyOf = (jwk: object, more: object = {}) => Redacted.make(JSON.stringify({ ...jwk, ...more }))
const elliptic = (kid: string) =>
  keyOf(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" }), { kid, alg: "ES256" })

/** What a provider is told of a client that signs with the key. */
const registered = (key: Redacted.Redacted, alg = "ES256") => ({
  client_id: "signer",
  application_type: "native" as const,
  token_endpoint_auth_method: "private_key_jwt" as const,
  token_endpoint_auth_signing_alg: alg as "ES256",
  grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
  redirect_uris: [redirectUri],
  jwks: { keys: [publicKeyOf(key)] as never }
})

const claims = (assertion: string | null) => {
  const [header = "", payload = ""] = (assertion ?? "").split(".")
  const read = (part: string) => JSON.parse(Buffer.from(part, "base64url").toString()) as Record<string, unknown>
  return { header: read(header), payload: read(payload) }
}

const signer = { clientId: "signer", authMethod: "private_key_jwt" } as const

describe("private_key_jwt", () => {
  it.live("registers a key of its own where the server takes nothing else, and signs every request with it", () =>
    Effect.gen(function*() {
      const provider = yield* OidcProvider.make({
        metadata: { token_endpoint_auth_methods_supported: ["private_key_jwt"] }
      })
      const oauth = yield* AuthorizationServer
      const target = server(`${provider.issuer}/mcp`)
      const metadata = yield* oauth.discover(target)
      const key = elliptic("one")
      const client = yield* oauth.register(metadata, {
        redirectUri,
        transport: "loopback",
        scopes: [],
        signingKey: key
      })
      assert.strictEqual(client.authMethod, "private_key_jwt")
      const { callbackAccepted, codeVerifier, grant } = yield* consent(target, client)
      const secrets = { clientSecret: client.clientSecret }
      const first = yield* oauth.exchange(callbackAccepted, { codeVerifier, ...secrets })
      const second = yield* oauth.refresh(grant, { refreshToken: first.refreshToken!, ...secrets })
      yield* oauth.revoke(grant, { token: second.refreshToken!, hint: "refresh_token", ...secrets })
      assert.deepStrictEqual(
        provider.log.map(({ kind, outcome }) => `${kind} ${outcome}`),
        ["registration ok", "token ok", "token ok", "revocation ok"]
      )
      // Another key is another client.
      const wrong = yield* Effect.flip(
        oauth.refresh(grant, { refreshToken: second.refreshToken!, clientSecret: elliptic("one") })
      )
      assert.deepStrictEqual(wrong.reason, { _tag: "Configuration", error: "invalid_client" })
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("signs with a key that an operator brought, for the device grant too", () =>
    Effect.gen(function*() {
      const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" })
      const edwards = generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" })
      const table = [
        [keyOf(rsa), "RS256"],
        [keyOf(rsa, { alg: "PS256", key_ops: ["sign"], use: "sig", ext: true }), "PS256"],
        [keyOf(edwards, { kid: "ed" }), "Ed25519"]
      ] as const
      for (const [key, alg] of table) {
        const provider = yield* OidcProvider.make({ clients: [registered(key, alg)] })
        const oauth = yield* AuthorizationServer
        const metadata = yield* oauth.discover(server(`${provider.issuer}/mcp`))
        const device = yield* oauth.authorizeDevice(metadata, {
          ...signer,
          clientSecret: key,
          scopes: ["mcp:read"],
          resource: metadata.resource
        })
        yield* UserAgent.make().authorize(Redacted.value(device.verificationUriComplete!))
        const grant = grantAt(provider.issuer, { ...signer, resource: metadata.resource })
        const answer = yield* oauth.poll(grant, { deviceCode: device.deviceCode, clientSecret: key })
        assert.strictEqual(answer._tag, "Granted", alg)
      }
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("DISC-17 signs for the issuer alone, once and for a minute, whatever endpoint the metadata names", () =>
    Effect.gen(function*() {
      const honest = yield* FakeProvider.make()
      const oauth = yield* AuthorizationServer
      const key = elliptic("two")
      // The metadata of this issuer names endpoints of another server.
      const issuer = "https://as.example/tenant"
      const grant = grantAt(honest.issuer, { ...signer, issuer })
      const metadata: AuthorizationServerMetadata = {
        issuer,
        authorizationEndpoint: `${honest.issuer}/authorize`,
        tokenEndpoint: grant.tokenEndpoint,
        deviceAuthorizationEndpoint: `${honest.issuer}/device`,
        issRequired: false,
        authMethods: ["private_key_jwt"],
        resource: grant.resource!
      }
      const clientSecret = key
      yield* Effect.exit(oauth.exchange(accepted(grant, secret()), { codeVerifier: secret(), clientSecret }))
      yield* Effect.exit(oauth.refresh(grant, { refreshToken: secret(), clientSecret }))
      yield* Effect.exit(oauth.revoke(grant, { token: secret(), hint: "refresh_token", clientSecret }))
      yield* Effect.exit(oauth.authorizeDevice(metadata, { ...signer, clientSecret, scopes: [], resource: undefined }))
      const seen = [...honest.requests("token"), ...honest.requests("revocation"), ...honest.requests("device")]
      assert.lengthOf(seen, 4)
      const ids = new Set<unknown>()
      for (const { form } of seen) {
        const { header, payload } = claims(form.get("client_assertion"))
        assert.deepInclude(header, { alg: "ES256", kid: "two" })
        assert.deepInclude(payload, { aud: issuer, iss: "signer", sub: "signer" })
        assert.isAtMost(Number(payload["exp"]) - Number(payload["iat"]), 300)
        assert.strictEqual(
          form.get("client_assertion_type"),
          "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        )
        ids.add(payload["jti"])
      }
      assert.strictEqual(ids.size, 4)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("DISC-17 is refused by a server whose endpoint another server's metadata names, though it knows client and key", () =>
    Effect.gen(function*() {
      const key = elliptic("shared by an operator's mistake")
      const honest = yield* OidcProvider.make({ clients: [registered(key)] })
      const oauth = yield* AuthorizationServer
      const attacker = yield* OidcProvider.make({
        metadata: {
          token_endpoint: `${honest.issuer}/token`,
          revocation_endpoint: `${honest.issuer}/token/revocation`
        }
      })
      const { tokenEndpoint } = yield* oauth.discover(server(`${attacker.issuer}/mcp`))
      assert.strictEqual(new URL(tokenEndpoint).origin, honest.issuer)
      const refresh = (issuer: string) =>
        Effect.flip(oauth.refresh(
          grantAt(honest.issuer, { ...signer, issuer, tokenEndpoint }),
          { refreshToken: secret(), clientSecret: key }
        ))
      const crossed = yield* refresh(attacker.issuer)
      assert.deepStrictEqual(crossed.reason, { _tag: "Configuration", error: "invalid_client" })
      // The client itself is fine: for its own issuer the token is what is refused.
      assert.deepStrictEqual((yield* refresh(honest.issuer)).reason, { _tag: "Terminal", error: "invalid_grant" })
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("sends nothing with a key that cannot sign", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const oauth = yield* AuthorizationServer
      const point = generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({ format: "jwk" })
      const { n, e } = generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey.export({ format: "jwk" })
      const unusable = [
        undefined,
        "not a key",
        JSON.stringify(point),
        JSON.stringify({ ...point, d: "AAAA" }),
        JSON.stringify({ kty: "RSA", n, e, d: "AAAA" })
      ]
      for (const text of unusable) {
        const clientSecret = text === undefined ? undefined : Redacted.make(text)
        const { reason } = yield* Effect.flip(
          oauth.refresh(grantAt(provider.issuer, signer), { refreshToken: secret(), clientSecret })
        )
        assert.deepStrictEqual(reason, { _tag: "Configuration", error: "invalid_client" })
      }
      assert.isEmpty(provider.requests("token"))
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("registers no key where the server cannot check its signature, and believes no key that it did not bring", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const oauth = yield* AuthorizationServer
      const metadata: AuthorizationServerMetadata = {
        issuer: provider.issuer,
        authorizationEndpoint: `${provider.issuer}/authorize`,
        tokenEndpoint: `${provider.issuer}/token`,
        registrationEndpoint: `${provider.issuer}/register`,
        issRequired: false,
        authMethods: ["private_key_jwt"],
        resource: provider.resource
      }
      const input = { redirectUri, transport: "gateway", scopes: [] } as const
      const refusals = [
        oauth.register(metadata, input),
        oauth.register({ ...metadata, authAlgorithms: ["RS256"] }, { ...input, signingKey: elliptic("three") })
      ]
      for (const refusal of refusals) assert.strictEqual((yield* Effect.flip(refusal)).code, "registration_unsupported")
      assert.isEmpty(provider.requests("registration"))
    }).pipe(Effect.scoped, Effect.provide(layer)))
})
