import { assert, describe, it } from "@effect/vitest"
import { isFresh } from "@valetkey/domain/Credentials"
import * as Canary from "@valetkey/testing/Canary"
import { DateTime, Duration } from "effect"
import { depositOf as toDeposit, endpointsOf } from "../src/Deposits.ts"

const now = DateTime.makeUnsafe("2026-01-01T00:00:00Z")
const required = {
  tokenEndpoint: "https://as.example/token",
  clientId: "client",
  refreshToken: Canary.make("refresh")
}

const depositOf = (payload: Parameters<typeof toDeposit>[0], at: DateTime.Utc) =>
  toDeposit(payload, endpointsOf(payload)!, at)

describe("depositOf", () => {
  it("S3.26 S3.43 takes a public client without a secret, and says which defaults hold", () => {
    const { clientSecret, credentials, grant } = depositOf(required, now)
    assert.isUndefined(clientSecret)
    assert.deepStrictEqual(grant, {
      issuer: "https://as.example",
      tokenEndpoint: "https://as.example/token",
      clientId: "client",
      authMethod: "none",
      redemptionPolicy: "retry-once"
    })
    assert.strictEqual(credentials.tokenType, "Bearer")
    assert.isFalse(isFresh(credentials, Duration.zero, now))
  })

  it("S3.43 keeps what was given", () => {
    const accessToken = Canary.make("access")
    const clientSecret = Canary.make("client")
    const expiresAt = DateTime.add(now, { hours: 1 })
    const given = depositOf({
      ...required,
      accessToken,
      clientSecret,
      expiresAt,
      issuer: "https://issuer.example",
      revocationEndpoint: "https://as.example/revoke",
      resource: "https://notes.example/mcp",
      redemptionPolicy: "strict",
      tokenType: "DPoP",
      scopes: ["a"]
    }, now)
    assert.strictEqual(given.clientSecret, clientSecret)
    assert.deepStrictEqual(given.grant, {
      issuer: "https://issuer.example",
      tokenEndpoint: "https://as.example/token",
      revocationEndpoint: "https://as.example/revoke",
      clientId: "client",
      authMethod: "client_secret_basic",
      resource: "https://notes.example/mcp",
      redemptionPolicy: "strict"
    })
    assert.deepStrictEqual(given.credentials, {
      accessToken,
      refreshToken: required.refreshToken,
      tokenType: "DPoP",
      scopes: ["a"],
      issuedAt: now,
      expiresAt
    })
    assert.isTrue(isFresh(given.credentials, Duration.minutes(5), now))
  })
})
