import { assert, describe, it } from "@effect/vitest"
import { AuthorizationServer } from "@valetkey/domain/AuthorizationServer"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import * as Reply from "@valetkey/testing/Reply"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect, Redacted } from "effect"
import { generateKeyPairSync } from "node:crypto"
import { consent, grantAt, layer, layerWith, redirectUri, secret, server } from "./internal/world.ts"

const newKey = () =>
  Redacted.make(JSON.stringify(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" })))

const outcomes = (provider: OidcProvider.OidcProvider) =>
  provider.log.filter(({ kind }) => kind === "token").map(({ outcome }) => outcome)

const claimsOf = (proof: string) =>
  JSON.parse(Buffer.from(proof.split(".")[1] ?? "", "base64url").toString()) as Record<string, unknown>

describe("proofs of possession", () => {
  it.live("EXT-03 bind code and tokens to the key, with the server's nonce, on whichever replica", () =>
    Effect.gen(function*() {
      const provider = yield* OidcProvider.make({ requireDpopNonce: true })
      const oauth = yield* AuthorizationServer
      const target = server(`${provider.issuer}/mcp`)
      const client = yield* oauth.register(yield* oauth.discover(target), {
        redirectUri,
        transport: "loopback",
        scopes: []
      })
      const proofKey = newKey()
      const { callbackAccepted, codeVerifier, grant } = yield* consent(target, { ...client, proofKey })
      const stolen = yield* Effect.flip(
        oauth.exchange(callbackAccepted, { codeVerifier, proofKey: newKey(), clientSecret: undefined })
      )
      assert.deepStrictEqual(stolen.reason, { _tag: "Terminal", error: "invalid_grant" })

      const again = yield* consent(target, { ...client, proofKey })
      const secrets = { proofKey, clientSecret: undefined }
      const first = yield* oauth.exchange(again.callbackAccepted, { codeVerifier: again.codeVerifier, ...secrets })
      assert.strictEqual(first.tokenType, "DPoP")
      assert.strictEqual(first.proofKey, proofKey)
      const elsewhere = AuthorizationServer.use((replica) =>
        replica.refresh(grant, { refreshToken: first.refreshToken!, ...secrets })
      )
      const second = yield* Effect.provide(elsewhere, layerWith())
      assert.strictEqual(second.tokenType, "DPoP")
      assert.deepStrictEqual(outcomes(provider), ["use_dpop_nonce", "invalid_grant", "ok", "use_dpop_nonce", "ok"])
      // A refresh token of a public client is bound as well.
      const thief = yield* Effect.flip(
        oauth.refresh(grant, { refreshToken: second.refreshToken!, clientSecret: undefined, proofKey: newKey() })
      )
      assert.strictEqual(thief.reason._tag, "Terminal")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("EXT-03 go with a device code too", () =>
    Effect.gen(function*() {
      const provider = yield* OidcProvider.make()
      const oauth = yield* AuthorizationServer
      const metadata = yield* oauth.discover(server(`${provider.issuer}/mcp`))
      const { resource } = metadata
      const public_ = { clientId: "native", authMethod: "none", clientSecret: undefined } as const
      const device = yield* oauth.authorizeDevice(metadata, { ...public_, scopes: ["mcp:read"], resource })
      yield* UserAgent.make().authorize(Redacted.value(device.verificationUriComplete!))
      const proofKey = newKey()
      const answer = yield* oauth.poll(grantAt(provider.issuer, { ...public_, resource }), {
        deviceCode: device.deviceCode,
        clientSecret: undefined,
        proofKey
      })
      if (answer._tag !== "Granted") return assert.fail(answer._tag)
      assert.deepInclude(answer.credentials, { tokenType: "DPoP", proofKey })
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("EXT-03 are fresh for each request, ask for a nonce once, and keep the key of tokens that are not bound", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const oauth = yield* AuthorizationServer
      const proofKey = newKey()
      const grant = grantAt(provider.issuer)
      const refresh = oauth.refresh(grant, { refreshToken: secret(), clientSecret: undefined, proofKey })
      const wantsNonce = (nonce: string) => Reply.json(400, { error: "use_dpop_nonce" }, { "dpop-nonce": nonce })
      provider.script("token", [wantsNonce("n-1"), wantsNonce("n-2")])
      const refused = yield* Effect.flip(refresh)
      assert.strictEqual(refused.reason._tag, "Transient")
      provider.script("token", [Reply.json(200, { access_token: "a", token_type: "Bearer" })])
      const plain = yield* refresh
      assert.deepInclude(plain, { tokenType: "Bearer", proofKey })
      const proofs = provider.requests("token").map(({ headers }) => claimsOf(String(headers["dpop"])))
      assert.deepStrictEqual(proofs.map(({ nonce }) => nonce), [undefined, "n-1", "n-2"])
      assert.strictEqual(new Set(proofs.map(({ jti }) => jti)).size, 3)
      for (const { ath, htm, htu } of proofs) {
        assert.deepStrictEqual([htm, htu, ath], ["POST", grant.tokenEndpoint, undefined])
      }

      provider.script("token", [Reply.json(200, { access_token: "a", token_type: "DPoP" })])
      const unasked = yield* Effect.flip(oauth.refresh(grant, { refreshToken: secret(), clientSecret: undefined }))
      assert.strictEqual(unasked.reason._tag, "UnknownOutcome")
      const broken = oauth.refresh(grant, {
        refreshToken: secret(),
        clientSecret: undefined,
        proofKey: Redacted.make("{}")
      })
      const before = provider.requests("token").length
      assert.deepStrictEqual((yield* Effect.flip(broken)).reason, {
        _tag: "Configuration",
        error: "invalid_dpop_proof"
      })
      assert.lengthOf(provider.requests("token"), before)
    }).pipe(Effect.scoped, Effect.provide(layer)))
})
